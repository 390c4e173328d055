"""Files of masks: one number a pixel, read as it is stored; and what is known of files that hold other numbers."""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from tcl_core.errors import DataError
from tcl_core.pictures import palette

VOID = 255
"""Label of pixels that do not count."""
UNKNOWN = 254
"""In tables of labels: a value that no mask may have."""

Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class LabelRule:
    """What the values of a benchmark's masks mean.

    Attributes:
        numbers: uint8 (256,), value -> label, `UNKNOWN` for what no mask may have.
        values: allowed ones, for people: "0 to 18 or 255".
        advice: what to do about others.
        voc_palette: whether index k of a palette has to have colour k of PASCAL VOC, if it has one of them at all.
        conversion: uint8 (256,) by which masks are made of raw numbers, None if they are as they were downloaded.
    """

    numbers: Labels
    values: str
    advice: str = ""
    voc_palette: bool = False
    conversion: Labels | None = None


def read_numbers(path: Path) -> npt.NDArray[np.integer]:
    """Read a mask as it is stored, the indices of a palette rather than its colours: (H,W) uint8.

    Raises:
        DataError: damaged, several channels, 16 bits, or grey of less than 8 bits, which libraries stretch to 255.
    """
    return _read(path)[0]


def _read(path: Path, *, wide: bool = False) -> tuple[npt.NDArray[np.integer], list[int] | None]:
    try:
        with path.open("rb") as file, Image.open(file) as picture:
            depth = _png_depth(path)
            values, colours = np.asarray(picture), picture.getpalette("RGB") if picture.mode == "P" else None
            mode = picture.mode
    except FileNotFoundError:
        raise DataError(f"no mask {path}: expected one beside the others") from None
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be read ({error}): expected a PNG of class numbers") from error
    if values.ndim != 2:
        raise DataError(
            f"{path} has {values.shape[2]} channels ({mode}): expected one channel of 8 bits, a class number a pixel; "
            "this is a picture of colours, so take the file of numbers that belongs to it"
        )
    if depth is not None and depth < 8 and mode != "P":
        raise DataError(
            f"{path} is grey of {depth} bits: expected one channel of 8 bits, a class number a pixel; libraries "
            "stretch fewer bits to 0..255, so write it again with 8"
        )
    if values.dtype == np.uint8 or (wide and values.dtype.kind in "iu"):
        return values, colours
    raise DataError(
        f"{path} has numbers of another kind ({mode}, {'16 bits or more' if values.dtype.itemsize > 1 else '1 bit'}): "
        "expected one channel of 8 bits, a class number a pixel"
    )


def read_wide_numbers(path: Path) -> npt.NDArray[np.integer]:
    """Read a raw map, whose numbers may need 16 bits: (H,W) of integers. Raises DataError as `read_numbers` does."""
    return _read(path, wide=True)[0]


def read_labels(path: Path, rule: LabelRule) -> Labels:
    """Read a mask and translate it: (H,W) uint8, label or VOID.

    Raises:
        DataError: see `read_numbers`; values that no mask may have, or a palette whose colours say other classes.
    """
    values, colours = _read(path)
    used = np.unique(values)
    strange = used[rule.numbers[used] == UNKNOWN]
    if len(strange):
        raise DataError(f"{path} has the value {strange[0]}: expected {rule.values}{rule.advice}")
    if rule.voc_palette and colours:
        _check_palette(path, used, np.array(colours).reshape(-1, 3))
    labels: Labels = rule.numbers[values]
    return labels


def _check_palette(path: Path, used: npt.NDArray[np.integer], colours: npt.NDArray[np.integer]) -> None:
    """Programs that optimise palettes number them anew: the colours stay, the indices do not."""
    expected = {tuple(colour): index for index, colour in enumerate(palette(VOID + 1).tolist())}
    for index in used[used < len(colours)].tolist():
        meant = expected.get(tuple(colours[index].tolist()), index)
        if meant != index:
            raise DataError(
                f"{path} has index {index} in the colour of class {meant}: a program numbered its palette anew; take "
                "the original file"
            )


def _png_depth(path: Path) -> int | None:
    """Bits of a sample, from the header of a PNG; None for other files."""
    with path.open("rb") as file:
        header = file.read(26)
    return header[24] if header.startswith(b"\x89PNG\r\n\x1a\n") and len(header) == 26 else None


__all__ = ["UNKNOWN", "VOID", "LabelRule", "Labels", "read_labels", "read_numbers", "read_wide_numbers"]
