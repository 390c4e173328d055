"""Class indices as PNG."""

from pathlib import Path

from runtime.atomic_file import write_atomically
from runtime.errors import SinkError, SinkNameError
from runtime.frame import BGR
from runtime.segmentation import Segmentation, write_picture
from runtime.sinks.sink import Sink, _make_folder, _numbered
from runtime.sources.source import Frame


class MaskSink(Sink):
    """A PNG a frame whose values are class indices, 8 bits or 16, and `classes.txt` with the word of each line."""

    paints = False

    def __init__(self, pattern: Path) -> None:
        if pattern.suffix.lower() != ".png":
            raise SinkNameError(
                f"masks are written as PNG, not {pattern.suffix}: other formats would change the indices"
            )
        _make_folder(pattern.parent)
        self._pattern = pattern
        self._names: tuple[str, ...] = ()

    def write(self, result: Segmentation, frame: Frame, picture: BGR) -> None:
        """Write the mask of a frame."""
        if result.names != self._names:
            if self._names:
                raise SinkError("the words changed while masks were written: begin a new folder for new words")
            self._names = result.names
            write_atomically(self._pattern.parent / "classes.txt", ("\n".join(result.names) + "\n").encode())
        write_picture(_numbered(self._pattern, frame), result.mask)
