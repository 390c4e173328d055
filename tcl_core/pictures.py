"""Pictures: opened upright as RGB, resized and normalised for an encoder, and written."""

import io
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F

from tcl_core.atomic_file import write_atomically
from tcl_core.errors import DataError

if TYPE_CHECKING:
    from tcl_core.encoder import Preprocess


MAX_LONG_SIDE = 2048  # of the paper's evaluation; also bounds the memory that a very long picture takes


def open_picture(path: Path) -> Image.Image:
    """Open a picture as RGB, turned upright.

    Raises:
        FileNotFoundError: no such file.
        DataError: no picture, damaged, absurdly large, or of numbers whose black and white nobody knows (also a
            ValueError).
    """
    if not path.is_file():
        raise FileNotFoundError(f"no picture {path}")
    try:
        # Not by its path: Pillow 13 maps what is not compressed into memory, and then turns a TIFF twice.
        with path.open("rb") as file, Image.open(file) as picture:
            return eight_bits(ImageOps.exif_transpose(picture), picture.format).convert("RGB")
    except Image.DecompressionBombError as error:
        raise DataError(f"{path} announces more pixels than are decoded ({error}): make it smaller") from error
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, struct.error) as error:
        raise DataError(f"{path} is no picture that can be read, or is damaged ({error})") from error


def eight_bits(picture: Image.Image, kind: str | None) -> Image.Image:
    """Take the upper 8 of 16 bits of grey, as the runtime does; Pillow itself would make all above 255 white.

    Args:
        picture: any; that of another mode comes back as it is.
        kind: Pillow's name for the format of its file.

    Raises:
        ValueError: floating point, or integers of 32 bits.
    """
    if picture.mode == "F" or (picture.mode == "I" and kind not in {"PNG", "PPM"}):  # theirs has 16 bits
        raise ValueError("numbers without a range for black and white: scale them to 8 or 16 bits")
    if not picture.mode.startswith("I"):
        return picture
    return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))


def to_tensor(picture: Image.Image, preprocess: "Preprocess", short_side: int) -> Tensor:
    """Resize a picture so that its short side has a length, the long one at most 2048; normalised (1,3,H,W)."""
    width, height = picture.size
    scale = min(short_side / min(height, width), MAX_LONG_SIDE / max(height, width))
    return resized_tensor(picture, preprocess, (max(round(height * scale), 1), max(round(width * scale), 1)))


def resized_tensor(picture: Image.Image, preprocess: "Preprocess", size: tuple[int, int]) -> Tensor:
    """Resize a picture to (H, W) and normalise it: (1,3,H,W)."""
    pixels = torch.from_numpy(np.array(picture, dtype=np.float32)).permute(2, 0, 1)[None] / 255
    mean, std = torch.tensor(preprocess.mean).view(3, 1, 1), torch.tensor(preprocess.std).view(3, 1, 1)
    mode, antialias = preprocess.interpolation, preprocess.antialias
    pixels = F.interpolate(pixels, size, mode=mode, align_corners=False, antialias=antialias).clamp(0, 1)
    return (pixels - mean) / std


def palette(num_colours: int) -> npt.NDArray[np.uint8]:
    """Colours that differ, (num_colours,3) RGB; the first is black, for the background. PASCAL VOC's rule."""
    colours = np.zeros((num_colours, 3), np.uint8)
    for index in range(num_colours):
        for bit in range(8):
            for channel in range(3):
                colours[index, channel] |= ((index >> (3 * bit + channel)) & 1) << (7 - bit)
    return colours


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write a PNG, complete or not at all.

    Raises:
        WriteError: it cannot be written.
    """
    content = io.BytesIO()
    picture.save(content, format="PNG")
    write_atomically(path, content.getvalue())
