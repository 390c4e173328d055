"""What the functions of `runtime.kernels.upsample` accept: checks that name what was given and what was expected.

Each returns its argument in the form that the C++ takes. Letters as there.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.kernels.reference import Bytes, Masks, cleaned_thresholds

MAX_SIDE = 65535
MAX_CLASSES = 65535


def described(value: object) -> str:
    """What an argument is, for an error message."""
    return f"{value.dtype} array" if isinstance(value, np.ndarray) else type(value).__name__


def checked_masks(masks: Masks) -> Masks:
    """Masks (N,h,w), contiguous."""
    if not isinstance(masks, np.ndarray) or masks.dtype not in (np.float32, np.float16):
        raise TypeError(f"masks: {described(masks)} given, expected a float32 or float16 array")
    if masks.ndim != 3:
        raise ValueError(f"masks of shape {masks.shape} given, expected three axes (N, h, w)")
    if 0 in masks.shape:
        raise ValueError(f"masks of shape {masks.shape} given, expected at least one mask of one node")
    if max(masks.shape[1:]) > MAX_SIDE:
        raise ValueError(f"masks of shape {masks.shape} given, expected sides of at most {MAX_SIDE}")
    contiguous: Any = np.ascontiguousarray(masks)
    return contiguous  # type: ignore[no-any-return]


def checked_background(background: float | None) -> float | None:
    """The background as a number that fits float32."""
    if background is None:
        return None
    constant = float(background)
    if not np.isfinite(constant):
        raise ValueError(f"background {constant} given, expected a finite number or None")
    return max(-1e20, min(constant, 1e20))  # as masks are limited; and so it fits float32


def checked_thresholds(
    thresholds: Sequence[float] | npt.NDArray[Any] | None, masks: Masks, background: float | None
) -> npt.NDArray[np.float32] | None:
    """Thresholds (N,) float32, such that class 0 takes part everywhere."""
    if thresholds is None:
        return None
    numbers = np.asarray(thresholds)
    if numbers.dtype.kind not in "fiu":
        raise TypeError(f"thresholds: {numbers.dtype} given, expected numbers")
    if numbers.shape != (len(masks),):
        raise ValueError(f"thresholds of shape {numbers.shape} given, expected ({len(masks)},), one a mask")
    if np.isnan(numbers).any():
        raise ValueError("thresholds: NaN given, expected numbers; -inf lets a mask take part everywhere")
    if background is None and numbers[0] != -np.inf:
        raise ValueError(
            f"thresholds without background given, and thresholds[0] is {numbers[0]}: pixels where no mask exceeds its "
            "threshold need a class, so give a background, or -inf for mask 0 to be the background"
        )
    return cleaned_thresholds(numbers)


def checked_classes(masks: Masks, background: float | None) -> int:
    """Number of classes."""
    classes = len(masks) + (background is not None)
    if classes > MAX_CLASSES:
        raise ValueError(f"{classes} classes given, expected at most {MAX_CLASSES} with the background")
    return classes


def checked_size(size: tuple[int, ...]) -> tuple[int, int]:
    """(H, W)."""
    try:
        height, width = size
    except (TypeError, ValueError) as error:
        raise ValueError(f"size {size!r} given, expected (height, width)") from error
    for side in (height, width):
        if isinstance(side, bool) or not isinstance(side, (int, np.integer)):
            raise TypeError(f"size {size!r} given, expected two integers (height, width)")
        if not 1 <= side <= MAX_SIDE:
            raise ValueError(f"size {size!r} given, expected a height and a width of 1 to {MAX_SIDE}")
    return int(height), int(width)


def checked_threads(threads: int) -> int:
    """Number of threads."""
    if isinstance(threads, bool) or not isinstance(threads, (int, np.integer)):
        raise TypeError(f"threads {threads!r} given, expected an integer")
    if threads < 1:
        raise ValueError(f"threads {threads} given, expected at least 1")
    return min(int(threads), 1024)


def checked_frame(frame: Bytes) -> Bytes:
    """Frame (H,W,3) with contiguous pixels."""
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8:
        raise TypeError(f"frame: {described(frame)} given, expected a uint8 array")
    if frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
        raise ValueError(f"frame of shape {frame.shape} given, expected (H, W, 3) with at least one pixel")
    return frame if frame.strides[1:] == (3, 1) else np.ascontiguousarray(frame)


def checked_paint(colours: Bytes, alpha: float, skip: int | None) -> dict[str, Any]:
    """Colours, opacity and the class that is not painted, as the C++ names them."""
    if not isinstance(colours, np.ndarray) or colours.dtype != np.uint8:
        raise TypeError(f"colours: {described(colours)} given, expected a uint8 array")
    if colours.ndim != 2 or colours.shape[1] != 3 or len(colours) == 0:
        raise ValueError(f"colours of shape {colours.shape} given, expected (K, 3), one colour a class")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha {alpha} given, expected 0 to 1")
    if skip is not None and not 0 <= skip < len(colours):
        raise ValueError(f"skip {skip} given, expected None or a class from 0 to {len(colours) - 1}")
    return {
        "colours": np.ascontiguousarray(colours),
        "alpha_256": int(alpha * 256 + 0.5),
        "skip": -1 if skip is None else int(skip),
    }


def outputs(
    given: Any, *expected: tuple[tuple[int, ...], np.dtype[Any]], apart_from: Bytes | None = None
) -> list[npt.NDArray[Any]]:
    """Allocate the expected arrays, or check that those given are just like them."""
    if given is None:
        return [np.empty(shape, dtype) for shape, dtype in expected]
    arrays = [given] if len(expected) == 1 else given
    if not isinstance(arrays, (tuple, list)) or len(arrays) != len(expected):
        raise TypeError(f"out: {described(given)} given, expected {len(expected)} arrays")
    for array, (shape, dtype) in zip(arrays, expected, strict=True):
        if not isinstance(array, np.ndarray) or array.dtype != dtype:
            raise TypeError(f"out: {described(array)} given, expected a {dtype} array")
        if array.shape != shape or not array.flags.c_contiguous or not array.flags.writeable:
            raise ValueError(f"out: shape {array.shape} given, expected {shape}, contiguous and writable")
        if apart_from is not None and np.may_share_memory(array, apart_from):
            raise ValueError("out: overlaps the frame, expected separate memory")
    return list(arrays)
