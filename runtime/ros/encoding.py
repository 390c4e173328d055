"""From the pixels of an image message to BGR.

The names of encodings are those of `sensor_msgs/image_encodings.hpp`; what they mean is what cv_bridge makes of them.
"""

import re
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from runtime.errors import SourceError
from runtime.frame import BGR, LONGEST_SIDE, as_bgr

Buffer = bytes | memoryview | npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Layout:
    """How a pixel lies in memory.

    Attributes:
        channels: values a pixel.
        bits: of a value, 8 or 16.
        conversion: OpenCV's to BGR; None where it is grey, or BGR already.
    """

    channels: int
    bits: int = 8
    conversion: int | None = None


_PIXELS = {
    "mono": Layout(1),
    "bgr": Layout(3),
    "rgb": Layout(3, conversion=cv2.COLOR_RGB2BGR),
    "bgra": Layout(4, conversion=cv2.COLOR_BGRA2BGR),
    "rgba": Layout(4, conversion=cv2.COLOR_RGBA2BGR),
    # ROS names the first row of the mosaic; OpenCV's own names are those of the second.
    "bayer_rggb": Layout(1, conversion=cv2.COLOR_BayerRGGB2BGR),
    "bayer_bggr": Layout(1, conversion=cv2.COLOR_BayerBGGR2BGR),
    "bayer_gbrg": Layout(1, conversion=cv2.COLOR_BayerGBRG2BGR),
    "bayer_grbg": Layout(1, conversion=cv2.COLOR_BayerGRBG2BGR),
}
LAYOUTS = {
    **{
        f"{name}{bits}": Layout(pixel.channels, bits, pixel.conversion)
        for name, pixel in _PIXELS.items()
        for bits in (8, 16)
    },
    **{f"{bits}UC1": Layout(1, bits) for bits in (8, 16)},
    **{f"{bits}UC3": Layout(3, bits) for bits in (8, 16)},
    **{f"{bits}UC4": Layout(4, bits, cv2.COLOR_BGRA2BGR) for bits in (8, 16)},
    "yuv422": Layout(2, conversion=cv2.COLOR_YUV2BGR_UYVY),
    "uyvy": Layout(2, conversion=cv2.COLOR_YUV2BGR_UYVY),
    "yuv422_yuy2": Layout(2, conversion=cv2.COLOR_YUV2BGR_YUY2),
    "yuyv": Layout(2, conversion=cv2.COLOR_YUV2BGR_YUY2),
}
"""Encodings whose pixels lie in rows; beside them there is `nv21`, whose chroma follows the rows."""

NUMBERS = re.compile(r"(8SC|16SC|32SC|32FC|64FC)\d*", re.I)
"""Encodings of distances and other numbers, which are no pictures."""


def decode_image(*, height: int, width: int, encoding: str, big_endian: bool, step: int, data: Buffer) -> BGR:
    """Make a BGR picture (H,W,3) uint8 of the pixels of a `sensor_msgs/Image`; of 16 bits the upper 8 are used.

    Args:
        height: rows.
        width: pixels a row.
        encoding: see `LAYOUTS`.
        big_endian: whether the upper byte of 16 bits comes first.
        step: bytes from row to row; those after the last pixel mean nothing, and may lack in the last row.
        data: all rows. The picture may lie in it.

    Raises:
        SourceError: the encoding is none of a picture, or size and data do not fit together.
    """
    if encoding == "nv21":
        return _decode_nv21(height, width, step, data)
    layout = LAYOUTS.get(encoding)
    if layout is None:
        raise SourceError(_refusal(encoding))
    row = width * layout.channels * layout.bits // 8
    _check(height, width, encoding, row, step, len(data), rows=height)
    value: Any = np.dtype(np.uint8) if layout.bits == 8 else np.dtype(">u2" if big_endian else "<u2")
    pixels = np.ndarray(
        (height, width, layout.channels), value, data, strides=(step, layout.channels * value.itemsize, value.itemsize)
    )
    if not pixels.flags.c_contiguous or value.itemsize == 2:
        pixels = pixels.astype(np.uint8 if value.itemsize == 1 else np.uint16)  # in this machine's order
    if value.itemsize == 2:
        pixels = (pixels >> 8).astype(np.uint8)
    if layout.conversion is None:
        return as_bgr(pixels)
    return _converted(pixels, layout.conversion, encoding)


def _decode_nv21(height: int, width: int, step: int, data: Buffer) -> BGR:
    if height % 2 or width % 2:
        raise SourceError(f"an image of {width} x {height} pixels as nv21 given, expected an even number of both")
    rows = height + height // 2  # of colour, half as many, each pair of bytes for four pixels
    _check(height, width, "nv21", width, step, len(data), rows=rows)
    planes = np.ndarray((rows, width), np.uint8, data, strides=(step, 1))
    return _converted(np.ascontiguousarray(planes), cv2.COLOR_YUV2BGR_NV21, "nv21")


def _check(height: int, width: int, encoding: str, row: int, step: int, size: int, *, rows: int) -> None:
    """Compare what a message announces with what it brings, before anything is made of it."""
    if not (0 < height <= LONGEST_SIDE and 0 < width <= LONGEST_SIDE):
        raise SourceError(f"an image of {width} x {height} pixels given, expected 1 to {LONGEST_SIDE} a side")
    if step < row:
        raise SourceError(
            f"an image of {width} x {height} pixels as {encoding} has {step} bytes a row (`step`), expected {row} or "
            "more"
        )
    if not step * (rows - 1) + row <= size <= step * rows:
        raise SourceError(
            f"an image of {width} x {height} pixels as {encoding} with {step} bytes a row (`step`) brings {size} "
            f"bytes, expected {step * rows}"
        )


def _converted(pixels: npt.NDArray[np.uint8], conversion: int, encoding: str) -> BGR:
    try:
        return np.asarray(cv2.cvtColor(pixels, conversion), np.uint8)
    except cv2.error as error:
        size = f"{pixels.shape[1]} x {pixels.shape[0]}"
        raise SourceError(
            f"an image of {size} pixels as {encoding} cannot be converted: {error.err or error}"
        ) from None


def _refusal(encoding: str) -> str:
    if NUMBERS.fullmatch(encoding):
        return (
            f"images as {encoding} hold distances or other numbers, no colours: name the topic of the camera's colour "
            "or grey picture"
        )
    return f"images as {encoding!r} are not supported: expected {', '.join([*LAYOUTS, 'nv21'])}"
