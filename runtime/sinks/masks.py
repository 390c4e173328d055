"""Class indices as PNG."""

import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from runtime.atomic_file import write_atomically
from runtime.errors import SinkError, SinkNameError
from runtime.frame import BGR
from runtime.segmentation import Segmentation, encoded_picture
from runtime.sinks.output import Outputs, is_pattern, numbered
from runtime.sinks.sink import Sink, make_folder
from runtime.sources.source import Frame, Source

WORDS = "classes.txt"


class MaskSink(Sink):
    """A PNG a frame whose values are class indices, and `classes.txt` with the word of each line.

    Up to 256 words they are indices into a palette, the colours of the overlay, which viewers show; beyond, 16 bits of
    grey. Read them with `read_mask`, or as `np.array(PIL.Image.open(path))`: OpenCV gives the colours.

    A folder belongs to one list of words: masks of others would be read with the wrong names.
    """

    paints = False
    one_word_list = True

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
            if not self._list.exists():  # or it holds the same
                write_atomically(self._list, ("\n".join(self._words) + "\n").encode())
            self._listed = True
        path = numbered(self._pattern, frame.index, frame.name)
        self._outputs.claim(path)
        write_atomically(path, encoded_mask(result.mask, result.colours))


SIGNATURE_BYTES, HEADER_BYTES = 8, 25
COLOUR_TYPE = 25
"""Where a PNG says how its values are meant."""

GREY, INDEXED = 0, 3


def encoded_mask(mask: npt.NDArray[Any], colours: npt.NDArray[np.uint8]) -> bytes:
    """Encode class indices as a PNG.

    Args:
        mask: (H,W) uint8, or uint16, which has no palette.
        colours: BGR colour of each index (K,3).
    """
    data = encoded_picture(Path("mask.png"), mask)  # OpenCV writes grey only, whose values are packed in the same way
    if mask.dtype != np.uint8:
        return data
    end = SIGNATURE_BYTES + HEADER_BYTES
    header = bytearray(data[SIGNATURE_BYTES + 8 : end - 4])
    header[COLOUR_TYPE - SIGNATURE_BYTES - 8] = INDEXED
    palette = np.ascontiguousarray(colours[:256, ::-1]).tobytes()
    return b"".join([data[:SIGNATURE_BYTES], _chunk(b"IHDR", header), _chunk(b"PLTE", palette), data[end:]])


def _chunk(kind: bytes, data: bytes | bytearray) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))


def read_mask(path: str | Path) -> npt.NDArray[Any]:
    """Read class indices as `MaskSink` writes them: (H,W) uint8 or uint16.

    Raises:
        SinkError: it is no such file.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise SinkError(f"{path} cannot be read ({error.strerror})") from None
    end = SIGNATURE_BYTES + HEADER_BYTES
    if data[COLOUR_TYPE : COLOUR_TYPE + 1] == bytes([INDEXED]) and data[end + 4 : end + 8] == b"PLTE":
        header = bytearray(data[SIGNATURE_BYTES + 8 : end - 4])
        header[COLOUR_TYPE - SIGNATURE_BYTES - 8] = GREY
        rest = end + 12 + int.from_bytes(data[end : end + 4], "big")
        data = data[:SIGNATURE_BYTES] + _chunk(b"IHDR", header) + data[rest:]
    mask = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if mask is None or mask.ndim != 2:
        raise SinkError(f"{path} holds no class indices: expected a PNG that a sink `masks/` wrote")
    return mask
