"""What a sink of results is.

A file appears under its name only when it is complete; what was written until an error stays beside it as
`NAME.partial.EXT`, so that nothing is lost and nothing half-written is mistaken for a result.
"""

import os
import re
from pathlib import Path

from runtime.errors import SinkError
from runtime.frame import BGR
from runtime.segmentation import Segmentation
from runtime.sources.source import Frame


class Sink:
    """Takes results one by one.

    Attributes:
        paints: wants the painted frame, which is cheapest to make in the pass that makes the mask.
        finished: wants no more frames.
        partial: an incomplete file that it left behind.
    """

    paints = True
    finished = False
    partial: Path | None = None

    def write(self, result: Segmentation, frame: Frame, picture: BGR) -> None:
        """Write the result of a frame. Its arrays are used again for the next one: copy what is to be kept.

        Args:
            result: what was found.
            frame: where.
            picture: the frame with the words painted over it, if this or another sink `paints`.

        Raises:
            SinkError: it cannot be written.
        """
        raise TypeError(f"{type(self).__name__} does not write")

    def close(self, *, complete: bool) -> None:
        """Finish. `complete` tells whether every result was written.

        Raises:
            SinkError: the result cannot be finished.
        """

    def __enter__(self) -> "Sink":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(complete=kind is None)


def is_pattern(path: Path) -> bool:
    """Tell whether the file name has a place for the frame's number (%06d) or name ({name})."""
    return bool(re.search(r"%0?\d*d|\{name\}", path.name))


def _numbered(path: Path, frame: Frame) -> Path:
    number = re.search(r"%(0?)(\d*)d", path.name)
    if number:
        return path.with_name(path.name.replace(number[0], format(frame.index, f"{number[1]}{number[2]}d")))
    return path.with_name(path.name.replace("{name}", frame.name))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SinkError(f"folder {folder} cannot be made: {error.strerror}") from None
    if not os.access(folder, os.W_OK):
        raise SinkError(f"folder {folder} is not writable")
