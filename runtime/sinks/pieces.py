"""What the files of a recording in pieces are called."""

import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path

from runtime.sinks.output import Outputs

_NUMBER = re.compile(r"%0?\d{0,3}d")


class Pieces:
    """Names the files of a recording one after the other, and claims each before it is written.

    | source | `segmented` | files of `out.mp4` |
    | --- | --- | --- |
    | with an end | no | out.mp4, and no more |
    | live | no | out.mp4, then out-001.mp4, ...: nothing that a camera sends is lost where its size changes |
    | with an end | yes | out-000.mp4, ...; none of them may be there |
    | live | yes | out-000.mp4, ..., or after the last that is there: a recorder that is started again goes on |

    A name with a place for the number (`out-%05d.mp4`) is taken as it stands where it is `segmented`. To overwrite
    means to begin at 0 in any case.

    Args:
        path: as the user named it.
        outputs: where files are claimed.
        segmented: the user asked for pieces.
        live: the source is a live one.

    Attributes:
        more: there may be a second piece.

    Raises:
        SinkNameError: the first one must not be written.
    """

    def __init__(self, path: Path, outputs: Outputs, *, segmented: bool, live: bool) -> None:
        self.more = segmented or live
        self._outputs, self._live, self._folder = outputs, live, path.parent
        place = _NUMBER.search(path.name) if segmented else None
        if place is None:
            self._before, self._form, self._after = f"{path.stem}-", "%03d", path.suffix
        else:
            self._before, self._form, self._after = path.name[: place.start()], place[0], path.name[place.end() :]
        self._first: Path | None = None if segmented else path
        if segmented:
            outputs.claim(
                self._folder / f"{self._before}{self._form}{self._after}"
            )  # no other result of this run has it
        else:
            outputs.claim(path)
        there = sorted(set(self._there())) if segmented else []
        if not live:
            for number in there:
                outputs.check(self._named(number))
        first = 0 if segmented else 1
        goes_on = live and there and not outputs.overwrite
        self._numbers = itertools.count(there[-1] + 1 if goes_on else first)

    def next(self) -> Path:
        """Claim the next file.

        Raises:
            SinkNameError: it must not be written.
        """
        if self._first is not None:
            path, self._first = self._first, None
            return path
        path = self._named(next(self._numbers))
        while self._live and not self._outputs.overwrite and os.path.lexists(path):
            path = self._named(next(self._numbers))
        self._outputs.claim(path)
        return path

    def _named(self, number: int) -> Path:
        return self._folder / f"{self._before}{self._form % number}{self._after}"

    def _there(self) -> Iterator[int]:
        """Find the numbers of the pieces that are there, those that broke off included."""
        end = Path(f"x{self._after}")
        after = re.escape(end.stem[1:]) + r"(?:\.partial(?:-\d+)?)?" + re.escape(end.suffix)
        form = re.compile(rf"{re.escape(self._before)}(\d+){after}")
        for file in self._folder.iterdir() if self._folder.is_dir() else ():
            if found := form.fullmatch(file.name):
                yield int(found[1])
