"""Class indices as PNG."""

from pathlib import Path

from runtime.errors import SinkError
from runtime.frame import BGR
from runtime.segmentation import Segmentation, write_picture
from runtime.sinks.sink import Sink, _make_folder, _numbered
from runtime.sources.source import Frame


class MaskSink(Sink):
    """A PNG a frame whose values are class indices, 8 bits or 16, and `classes.txt` with the word of each line."""

    paints = False

    def __init__(self, pattern: Path) -> None:
        if pattern.suffix.lower() != ".png":
            raise SinkError(f"masks are written as PNG, not {pattern.suffix}: other formats would change the indices")
        _make_folder(pattern.parent)
        self._pattern = pattern
        self._names: tuple[str, ...] = ()

    def write(self, result: Segmentation, frame: Frame, picture: BGR) -> None:
        """Write the mask of a frame."""
        if result.names != self._names:
            if self._names:
                raise SinkError("the words changed while masks were written: begin a new folder for new words")
            self._names = result.names
            _write_names(self._pattern.parent / "classes.txt", result.names)
        write_picture(_numbered(self._pattern, frame), result.mask)


def _write_names(path: Path, names: tuple[str, ...]) -> None:
    try:
        path.write_text("\n".join(names) + "\n", encoding="utf-8")
    except OSError as error:
        raise SinkError(f"{path} cannot be written: {error.strerror}") from None
