"""A frame becomes a network's input in one pass of C++: shrunk without aliasing, normalised, channels apart.

For networks trained on pictures that Pillow, or PyTorch with `antialias=True`, resized. The NumPy function at the
end, `reference_resize_normalize`, says what is computed.

Letters: H W pixels of the frame, h w of the result.
"""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from runtime import _native
from runtime.kernels.arguments import Bytes, checked_frame, checked_size, checked_threads, output

Filter: TypeAlias = Literal["bilinear", "bicubic"]


def resize_normalize(
    frame: Bytes,
    size: tuple[int, int],
    *,
    mean: Sequence[float],
    std: Sequence[float],
    interpolation: Filter = "bilinear",
    threads: int = 1,
    out: npt.NDArray[np.float32] | None = None,
) -> npt.NDArray[np.float32]:
    """Resize, normalise and lay out a frame.

    Args:
        frame: BGR (H,W,3) uint8. Rows may be apart; a frame whose pixels are not contiguous is copied.
        size: (h, w) of the result.
        mean: of red, green and blue, for values in [0, 1].
        std: likewise, not 0.
        interpolation: the kernel, widened as far as the frame shrinks.
        threads: rows worked on at the same time.
        out: what an earlier call with the same size returned, to be overwritten.

    Returns:
        Planes red, green, blue (1,3,h,w) float32: (value / 255 - mean) / std.

    Raises:
        TypeError: a dtype other than those above.
        ValueError: a shape that does not fit, a side that is not from 1 to 65,535, an unknown kernel, an std of 0.
        MemoryError: the result does not fit into memory.
    """
    pixels = checked_frame(frame)
    planes = output("out", out, (1, 3, *checked_size(size)), np.dtype(np.float32))
    if interpolation not in ("bilinear", "bicubic"):
        raise ValueError(f"interpolation {interpolation!r} given, expected 'bilinear' or 'bicubic'")
    if len(mean) != 3 or len(std) != 3 or not np.isfinite([*mean, *std]).all() or 0 in std:
        raise ValueError(
            f"mean {tuple(mean)} and std {tuple(std)} given, expected three finite numbers each, std not 0"
        )
    _native.resize_normalize(
        pixels,
        planes[0],
        bicubic=interpolation == "bicubic",
        reverse_channels=True,
        scale=[1 / (255 * float(value)) for value in std],
        shift=[-float(m) / float(s) for m, s in zip(mean, std, strict=True)],
        threads=checked_threads(threads),
    )
    return planes


def reference_resize_normalize(
    frame: Bytes,
    size: tuple[int, int],
    *,
    mean: Sequence[float],
    std: Sequence[float],
    interpolation: Filter = "bilinear",
) -> npt.NDArray[np.float32]:
    """Do in plain NumPy, in double precision, what `resize_normalize` does."""
    down, across = (_weights(frame.shape[axis], size[axis], interpolation) for axis in (0, 1))
    values = np.einsum("yY,YXc,xX->cyx", down, frame[..., ::-1] / 255, across, optimize=True)
    planes = (values - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    result: npt.NDArray[np.float32] = planes[None].astype(np.float32)
    return result


def _weights(length: int, pixels: int, interpolation: Filter) -> npt.NDArray[Any]:
    """Weight of every input pixel (columns) for every output pixel (rows)."""
    scale = length / pixels
    widening = max(scale, 1.0)
    centre = scale * (np.arange(pixels)[:, None] + 0.5)
    x = np.abs(np.arange(length) + 0.5 - centre) / widening
    if interpolation == "bilinear":
        weights = np.maximum(1 - x, 0)
    else:
        weights = np.where(x < 1, (1.5 * x - 2.5) * x * x + 1, np.where(x < 2, (((x - 5) * x + 8) * x - 4) * -0.5, 0))
    normalised: npt.NDArray[Any] = weights / weights.sum(1, keepdims=True)
    return normalised
