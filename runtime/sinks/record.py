"""What files of records have in common: they grow frame by frame, and say which picture is meant."""

import json
from pathlib import Path
from typing import Any

from runtime.atomic_file import GrowingFile
from runtime.sinks.output import Outputs
from runtime.sinks.sink import Sink, make_folder
from runtime.sinks.video import VIDEOS
from runtime.sources.source import Frame


class RecordSink(Sink):
    """A text file that grows with every frame; whatever it holds is on the disk before the next.

    A kind overrides `write`, and `tail` where something comes after the last frame.

    Args:
        path: of the file.
        outputs: where it is claimed.
    """

    paints = False

    def __init__(self, path: Path, outputs: Outputs) -> None:
        outputs.claim(path)
        make_folder(path.parent)
        self._path = path
        self._file: GrowingFile | None = None

    @property
    def begun(self) -> bool:
        """Whether something was appended."""
        return self._file is not None

    def append(self, text: str) -> None:
        """Write to the end of the file; it is there from the first text on.

        Raises:
            WriteError: the system refused it.
        """
        if self._file is None:
            self._file = GrowingFile(self._path)
        self._file.write(text.encode())

    def tail(self) -> str:
        """Give what ends the file, so that it can be read even if frames are missing."""
        return ""

    def close(self, *, complete: bool) -> None:
        """End the file, if there was a frame, and give it its name if all are in it."""
        file, self._file = self._file, None
        if file is None:
            return
        whole = False
        try:
            file.write(self.tail().encode())
            whole = complete
        finally:
            self.partial = file.close(complete=whole)


def as_json(value: Any) -> str:
    """Write plain values in a line of ASCII."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def as_text(name: str) -> str:
    r"""Make text of a file name: bytes that are no UTF-8 become \udc80 to \udcff in plain letters."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def file_name(frame: Frame) -> str:
    """Name the picture that a frame is: its own file, or the PNG that a folder of results would have for it."""
    path, name = frame.path, as_text(frame.name)
    if path is not None and path.suffix.lower() not in VIDEOS and Path(frame.name).name in (path.stem, path.name):
        suffix = as_text(path.suffix)
        return name if name.endswith(suffix) else name + suffix
    return name + ".png"
