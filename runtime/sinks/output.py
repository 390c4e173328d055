"""What a stream may write: nothing that it reads, nothing twice, nothing that is there unless it may be replaced."""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from runtime.errors import SinkNameError

_SOURCE = "{} is the source itself: choose another name, the source would be lost"


@dataclass
class Outputs:
    """Every file of a run is claimed here before it is written.

    Files are compared as the system tells them apart, through links and different spellings of a path.

    Attributes:
        inputs: files and folders that the run reads.
        overwrite: what is there and no input may be replaced.
    """

    inputs: Sequence[Path] = ()
    overwrite: bool = False
    _claimed: set[str] = field(default_factory=set, repr=False)
    _replaced: set[tuple[int, int]] = field(default_factory=set, repr=False)

    def __post_init__(self) -> None:
        self._input_identities = {identity for path in self.inputs if (identity := _identity(path)) is not None}

    def reads(self, path: Path) -> None:
        """Take a file for an input that was not known from the beginning.

        Raises:
            SinkNameError: a result of this run is to replace it.
        """
        identity = _identity(path)
        if identity is not None:
            self._input_identities.add(identity)
            if identity in self._replaced:
                raise SinkNameError(_SOURCE.format(path))

    def claim(self, path: Path) -> None:
        """Take a file for a result of this run.

        Raises:
            SinkNameError: it is an input, belongs to another result of this run, or is there.
        """
        self.check(path)
        self._claimed.add(os.path.realpath(path))
        if (identity := _identity(path)) is not None:
            self._replaced.add(identity)

    def claim_name(self, name: str) -> None:
        """Take what is no file, such as a topic, for a result of this run.

        Raises:
            SinkNameError: it belongs to another result of this run.
        """
        if name in self._claimed:
            raise SinkNameError(f"two results would be sent to {name}: give each a name of its own")
        self._claimed.add(name)

    def check(self, path: Path) -> None:
        """Tell whether a file could be claimed, without claiming it.

        Raises:
            SinkNameError: as `claim` would.
        """
        identity = _identity(path)
        if identity is not None and identity in self._input_identities:
            raise SinkNameError(_SOURCE.format(path))
        if os.path.realpath(path) in self._claimed:
            raise SinkNameError(
                f"two results would be written to {path}, the second over the first: give each a name of its own"
            )
        if path.is_dir():
            raise SinkNameError(f"{path} is a folder: name a file in it")
        if identity is not None and not path.is_file():
            raise SinkNameError(
                f"{path} is a device or a pipe: results are files, which take the place of what is there"
            )
        if not self.overwrite and os.path.lexists(path):
            raise SinkNameError(f"{path} exists: choose another name, or add --overwrite to replace it")

    def check_folder(self, folder: Path) -> None:
        """Tell whether results may be put into a folder.

        Raises:
            SinkNameError: sources are read from it.
        """
        identity = _identity(folder)
        if identity is not None and identity in self._input_identities:
            raise SinkNameError(
                f"{folder} is the folder that the sources are read from: choose another one, or sources and results mix"
            )

    def check_pattern(self, pattern: Path, names: Iterable[str] | None) -> None:
        """Tell, before the first frame, whether the files of a pattern (see `numbered`) could be claimed.

        Args:
            pattern: with a place for the number or the name of a frame.
            names: of all frames, where they are known; otherwise whatever the pattern could mean is looked for.

        Raises:
            SinkNameError: as `claim` would for one of them.
        """
        self.check_folder(pattern.parent)
        place = os.path.join(os.path.realpath(pattern.parent), pattern.name)  # noqa: PTH118 - a name, not a file
        if place in self._claimed:
            raise SinkNameError(f"two results would be written to {pattern}: give each a folder or a name of its own")
        self._claimed.add(place)
        if names is not None:
            for index, name in enumerate(names):
                self.check(numbered(pattern, index, name))
        elif pattern.parent.is_dir():
            form = _form(pattern.name)
            for file in sorted(pattern.parent.iterdir()):
                if form.fullmatch(file.name):
                    self.check(file)


def _identity(path: Path) -> tuple[int, int] | None:
    """What the system tells a file by: equal for all of its names; None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


_PLACE = re.compile(r"%(0?)(\d*)d|\{name\}")


def is_pattern(path: Path) -> bool:
    """Tell whether the file name has a place for the frame's number (%06d) or name ({name})."""
    return _PLACE.search(path.name) is not None


def numbered(pattern: Path, index: int, name: str) -> Path:
    """Put the number and the name of a frame into their places; a name may be a path of several parts.

    Raises:
        SinkNameError: the name leads out of the folder.
    """
    if name.startswith("/") or ".." in Path(name).parts:
        raise SinkNameError(f"the frame {name!r} would be written outside of {pattern.parent}: name sources otherwise")

    def placed(place: re.Match[str]) -> str:
        return name if place[0] == "{name}" else format(index, f"{place[1]}{place[2][:3]}d")

    return pattern.parent / _PLACE.sub(placed, pattern.name)


def _form(name: str) -> re.Pattern[str]:
    """Every file name that a pattern can make of frames whose names are numbers."""
    return re.compile(r"\d+".join(map(re.escape, re.split(r"%0?\d*d|\{name\}", name))))
