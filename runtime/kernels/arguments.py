"""What the kernels take, checked: every error says what was given and what was expected.

Each function returns its argument in the form that the C++ takes.

Letters: N masks, h w mask grid, H W pixels.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Labels: TypeAlias = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Bytes: TypeAlias = npt.NDArray[np.uint8]
Masks: TypeAlias = npt.NDArray[np.float32] | npt.NDArray[np.float16]

MAX_SIDE = 65535


def described(value: object) -> str:
    """What an argument is, for an error message."""
    return f"{value.dtype} array" if isinstance(value, np.ndarray) else type(value).__name__


def checked_threads(threads: int) -> int:
    """Number of threads."""
    if isinstance(threads, bool) or not isinstance(threads, (int, np.integer)):
        raise TypeError(f"threads {threads!r} given, expected an integer")
    if threads < 1:
        raise ValueError(f"threads {threads} given, expected at least 1")
    return min(int(threads), 1024)


def checked_masks(masks: Masks) -> Masks:
    """Masks (N,h,w), contiguous."""
    if not isinstance(masks, np.ndarray) or masks.dtype not in (np.float32, np.float16):
        raise TypeError(f"masks: {described(masks)} given, expected a float32 or float16 array")
    if masks.ndim != 3 or 0 in masks.shape or max(masks.shape[1:]) > MAX_SIDE:
        raise ValueError(
            f"masks of shape {masks.shape} given, expected (N, h, w): at least one mask, sides of 1 to {MAX_SIDE}"
        )
    contiguous: Any = np.ascontiguousarray(masks)
    return contiguous  # type: ignore[no-any-return]


def checked_size(size: Sequence[int]) -> tuple[int, int]:
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


def checked_frame(frame: Bytes) -> Bytes:
    """Frame (H,W,3) with contiguous pixels."""
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8:
        raise TypeError(f"frame: {described(frame)} given, expected a uint8 array")
    if frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape or max(frame.shape) > MAX_SIDE:
        raise ValueError(f"frame of shape {frame.shape} given, expected (H, W, 3) with sides of 1 to {MAX_SIDE}")
    return frame if frame.strides[1:] == (3, 1) else np.ascontiguousarray(frame)


def checked_labels(labels: Labels, frame: Bytes) -> Labels:
    """Labels (H,W) like the frame, contiguous."""
    if not isinstance(labels, np.ndarray) or labels.dtype not in (np.uint8, np.uint16):
        raise TypeError(f"labels: {described(labels)} given, expected a uint8 or uint16 array")
    if labels.shape != frame.shape[:2]:
        raise ValueError(f"labels of shape {labels.shape} given, expected {frame.shape[:2]} like the frame")
    contiguous: Any = np.ascontiguousarray(labels)
    return contiguous  # type: ignore[no-any-return]


def output(
    name: str, given: Any, shape: tuple[int, ...], dtype: np.dtype[Any], *, frame: Bytes | None = None
) -> npt.NDArray[Any]:
    """Allocate an array to write to, or check that the one given fits and lies apart from the frame."""
    if given is None:
        return np.empty(shape, dtype)
    if not isinstance(given, np.ndarray) or given.dtype != dtype:
        raise TypeError(f"{name}: {described(given)} given, expected a {dtype} array")
    if given.shape != shape or not given.flags.carray:
        raise ValueError(
            f"{name}: shape {given.shape} given, expected {shape} {dtype}, aligned, contiguous and writable"
        )
    if frame is not None and np.may_share_memory(given, frame):
        raise ValueError(f"{name}: overlaps the frame, expected separate memory")
    return given
