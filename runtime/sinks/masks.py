"""Class indices as PNG."""

from pathlib import Path

from runtime.atomic_file import write_atomically
from runtime.errors import SinkError, SinkNameError
from runtime.frame import BGR
from runtime.segmentation import Segmentation, write_picture
from runtime.sinks.output import Outputs, is_pattern, numbered
from runtime.sinks.sink import Sink, make_folder
from runtime.sources.source import Frame, Source

WORDS = "classes.txt"


class MaskSink(Sink):
    """A PNG a frame whose values are class indices, 8 bits or 16, and `classes.txt` with the word of each line.

    A folder belongs to one list of words: masks of others would be read with the wrong names.
    """

    paints = False

    def __init__(self, pattern: Path, source: Source, words: tuple[str, ...], outputs: Outputs) -> None:
        if pattern.suffix.lower() != ".png":
            raise SinkNameError(
                f"masks are written as PNG, not {pattern.suffix}: other formats would change the indices"
            )
        if not is_pattern(pattern) and source.count != 1:
            raise SinkNameError(
                f"{pattern} is one file, and the source has more frames than one: masks/ or masks/%06d.png has a file "
                "for each"
            )
        self._pattern, self._outputs, self._words = pattern, outputs, words
        self._list = pattern.parent / WORDS
        self._refuse_other_words()
        outputs.check_pattern(pattern, source.names)
        make_folder(pattern.parent)
        self._listed = False

    def _refuse_other_words(self) -> None:
        try:
            there = self._list.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return
        except (OSError, UnicodeDecodeError) as error:
            raise SinkError(f"{self._list} cannot be read: {error}") from None
        if there != list(self._words):
            words = ", ".join(there[:5]) + ", …" * (len(there) > 5)
            raise SinkNameError(
                f"{self._pattern.parent} holds masks of other words ({words}): choose another folder or delete it"
            )

    def write(self, result: Segmentation, frame: Frame, picture: BGR) -> None:
        """Write the mask of a frame."""
        if result.names != self._words:
            raise SinkError("the words changed while masks were written: begin a new folder for new words")
        if not self._listed:
            write_atomically(self._list, ("\n".join(self._words) + "\n").encode())
            self._listed = True
        path = numbered(self._pattern, frame.index, frame.name)
        self._outputs.claim(path)
        write_picture(path, result.mask)
