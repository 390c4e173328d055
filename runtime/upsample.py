"""Soft masks on a coarse grid -> a class for every pixel, and its colour on the frame, in one pass of C++.

The result is that of enlarging every mask to the frame (bilinear, half-pixel centres, clamped at the border)
and taking the largest at each pixel. `runtime/upsample_reference.py` says in NumPy exactly what is
computed; the C++ gives the same labels, confidences and colours to the last bit, on every machine.

* Equal values go to the lowest class.
* Values beyond ±1e20, infinities included, count as ±1e20.
* NaN counts as far below that: a pixel gets a class that is NaN around it only if every class is.

Letters: N masks, K classes (N, or N + 1 with a background), h w mask grid, H W pixels. All may be read-only, and
no argument but `out` is written to. Masks that are not contiguous are copied; frames only if the three
bytes of a pixel or the pixels of a row are not neighbours.
"""

from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt

from runtime import _native
from runtime.upsample_reference import (
    Bytes,
    Labels,
    Masks,
    label_dtype,
    likeness_table,
    reference_blend,
    reference_upsample_argmax,
    reference_upsample_guided,
)

__all__ = [
    "Bytes",
    "Labels",
    "Masks",
    "blend",
    "label_dtype",
    "reference_blend",
    "reference_upsample_argmax",
    "reference_upsample_guided",
    "upsample_argmax",
    "upsample_guided",
    "upsample_overlay",
]

MAX_SIDE = 65535
MAX_CLASSES = 65535
BYTE = np.dtype(np.uint8)


@overload
def upsample_argmax(
    masks: Masks,
    size: tuple[int, int],
    *,
    background: float | None = None,
    confidence: Literal[False] = False,
    threads: int = 1,
    out: Labels | None = None,
) -> Labels: ...
@overload
def upsample_argmax(
    masks: Masks,
    size: tuple[int, int],
    *,
    background: float | None = None,
    confidence: Literal[True],
    threads: int = 1,
    out: tuple[Labels, Bytes] | None = None,
) -> tuple[Labels, Bytes]: ...
def upsample_argmax(
    masks: Masks,
    size: tuple[int, int],
    *,
    background: float | None = None,
    confidence: bool = False,
    threads: int = 1,
    out: Any = None,
) -> Labels | tuple[Labels, Bytes]:
    """Find the class of every pixel.

    Args:
        masks: soft masks (N,h,w) float32 or float16, any range.
        size: (H, W) of the result.
        background: constant value of a class 0 beside the masks, which then are classes 1 to N. None for no such
            class: the masks are classes 0 to N - 1.
        confidence: also give the winner's value.
        threads: rows worked on at the same time, from about one megapixel on.
        out: what an earlier call with the same arguments returned, to be overwritten. Saves fetching memory from
            the system for every frame.

    Returns:
        Labels (H,W), uint8 up to 256 classes, otherwise uint16. With `confidence` also the winner's value, clamped
        to [0, 1], times 255, rounded half up, (H,W) uint8.

    Raises:
        TypeError: a dtype other than those above.
        ValueError: a shape that does not fit; no masks or over 65,535 classes; sides over 65,535 pixels.
        MemoryError: the result does not fit into memory.
    """
    values, constant = _checked_masks(masks), _checked_background(background)
    classes = _checked_classes(values, constant)
    shape = _checked_size(size)
    count = _checked_threads(threads)
    if not confidence:
        (labels,) = _outputs(out, (shape, label_dtype(classes)))
        _native.upsample(values, labels, background=constant, threads=count)
        return labels
    labels, scores = _outputs(out, (shape, label_dtype(classes)), (shape, BYTE))
    _native.upsample(values, labels, background=constant, confidence=scores, threads=count)
    return labels, scores


@overload
def upsample_overlay(
    masks: Masks,
    frame: Bytes,
    colors: Bytes,
    *,
    alpha: float,
    background: float | None = None,
    skip: int | None = None,
    confidence: Literal[False] = False,
    threads: int = 1,
    out: tuple[Labels, Bytes] | None = None,
) -> tuple[Labels, Bytes]: ...
@overload
def upsample_overlay(
    masks: Masks,
    frame: Bytes,
    colors: Bytes,
    *,
    alpha: float,
    background: float | None = None,
    skip: int | None = None,
    confidence: Literal[True],
    threads: int = 1,
    out: tuple[Labels, Bytes, Bytes] | None = None,
) -> tuple[Labels, Bytes, Bytes]: ...
def upsample_overlay(
    masks: Masks,
    frame: Bytes,
    colors: Bytes,
    *,
    alpha: float,
    background: float | None = None,
    skip: int | None = None,
    confidence: bool = False,
    threads: int = 1,
    out: Any = None,
) -> tuple[Labels, Bytes] | tuple[Labels, Bytes, Bytes]:
    """Find the class of every pixel and paint the classes over the frame.

    Args:
        masks: as for `upsample_argmax`.
        frame: picture (H,W,3) uint8; its size is that of the result.
        colors: colour of each class (K,3) uint8, in the frame's channel order. With a background, the first one
            is the background's.
        alpha: opacity of the colours in [0, 1], to the nearest 1/256.
        background: as for `upsample_argmax`.
        skip: class that leaves the frame as it is, typically 0 where there is a background.
        confidence: as for `upsample_argmax`.
        threads: as for `upsample_argmax`.
        out: as for `upsample_argmax`.

    Returns:
        Labels (H,W) and the blended picture (H,W,3) uint8; with `confidence` also the confidence (H,W) uint8.

    Raises:
        TypeError, ValueError, MemoryError: as for `upsample_argmax`.
    """
    values, constant = _checked_masks(masks), _checked_background(background)
    classes = _checked_classes(values, constant)
    pixels = _checked_frame(frame)
    size = _checked_size(pixels.shape[:2])
    paint = _checked_paint(colors, alpha, skip)
    if len(paint["colors"]) != classes:
        raise ValueError(f"{len(colors)} colors given, expected one for each of the {classes} classes")
    paint.update(frame=pixels, threads=_checked_threads(threads))
    expected = [(size, label_dtype(classes)), ((*size, 3), BYTE)]
    if not confidence:
        labels, blended = _outputs(out, *expected, apart_from=pixels)
        _native.upsample(values, labels, background=constant, blended=blended, **paint)
        return labels, blended
    labels, blended, scores = _outputs(out, *expected, (size, BYTE), apart_from=pixels)
    _native.upsample(values, labels, background=constant, blended=blended, confidence=scores, **paint)
    return labels, blended, scores


@overload
def upsample_guided(
    masks: Masks,
    frame: Bytes,
    *,
    tolerance: float = 20.0,
    background: float | None = None,
    confidence: Literal[False] = False,
    threads: int = 1,
) -> Labels: ...
@overload
def upsample_guided(
    masks: Masks,
    frame: Bytes,
    *,
    tolerance: float = 20.0,
    background: float | None = None,
    confidence: Literal[True],
    threads: int = 1,
) -> tuple[Labels, Bytes]: ...
def upsample_guided(
    masks: Masks,
    frame: Bytes,
    *,
    tolerance: float = 20.0,
    background: float | None = None,
    confidence: bool = False,
    threads: int = 1,
) -> Labels | tuple[Labels, Bytes]:
    """Find the class of every pixel, with borders that follow the edges of the frame.

    Joint bilateral: the four nodes around a pixel count as much more as their brightness is like the pixel's.

    Args:
        masks: as for `upsample_argmax`.
        frame: picture BGR (H,W,3) uint8; its size is that of the result.
        tolerance: difference in brightness, of 255, at which a node counts 0.6 of what it would; over 0.
        background: as for `upsample_argmax`.
        confidence: as for `upsample_argmax`; the value is the nodes' weighted mean.
        threads: as for `upsample_argmax`.

    Returns:
        As `upsample_argmax`.

    Raises:
        TypeError, ValueError, MemoryError: as for `upsample_argmax`.
    """
    values, constant = _checked_masks(masks), _checked_background(background)
    classes = _checked_classes(values, constant)
    pixels = _checked_frame(frame)
    size = _checked_size(pixels.shape[:2])
    if not 0 < tolerance < np.inf:
        raise ValueError(f"tolerance {tolerance} given, expected a number over 0")
    guide: dict[str, Any] = {
        "guide": pixels,
        "brightness": node_brightness(pixels, (values.shape[1], values.shape[2])),
        "likeness": likeness_table(tolerance),
        "background": constant,
        "threads": _checked_threads(threads),
    }
    if not confidence:
        (labels,) = _outputs(None, (size, label_dtype(classes)))
        _native.upsample(values, labels, **guide)
        return labels
    labels, scores = _outputs(None, (size, label_dtype(classes)), (size, BYTE))
    _native.upsample(values, labels, confidence=scores, **guide)
    return labels, scores


def blend(
    frame: Bytes,
    labels: Labels,
    colors: Bytes,
    *,
    alpha: float,
    skip: int | None = None,
    out: Bytes | None = None,
) -> Bytes:
    """Paint given labels over a frame.

    Args:
        frame: picture (H,W,3) uint8.
        labels: class of every pixel (H,W) uint8 or uint16.
        colors: colour of each class (K,3) uint8, in the frame's channel order.
        alpha: opacity of the colours in [0, 1], to the nearest 1/256.
        skip: class that leaves the frame as it is.
        out: picture to write the result to, which must not overlap the frame.

    Returns:
        The blended picture (H,W,3) uint8.

    Raises:
        TypeError: a dtype other than those above.
        ValueError: a shape that does not fit, or a label without a colour.
        MemoryError: the result does not fit into memory.
    """
    pixels = _checked_frame(frame)
    if not isinstance(labels, np.ndarray) or labels.dtype not in (np.uint8, np.uint16):
        raise TypeError(f"labels: {_described(labels)} given, expected a uint8 or uint16 array")
    if labels.shape != pixels.shape[:2]:
        raise ValueError(f"labels of shape {labels.shape} given, expected {pixels.shape[:2]} like the frame")
    paint = _checked_paint(colors, alpha, skip)
    (blended,) = _outputs(out, (pixels.shape, BYTE), apart_from=pixels)
    contiguous: Any = np.ascontiguousarray(labels)
    _native.blend(pixels, contiguous, blended=blended, **paint)
    return blended


def _described(value: object) -> str:
    return f"{value.dtype} array" if isinstance(value, np.ndarray) else type(value).__name__


def _checked_masks(masks: Masks) -> Masks:
    if not isinstance(masks, np.ndarray) or masks.dtype not in (np.float32, np.float16):
        raise TypeError(f"masks: {_described(masks)} given, expected a float32 or float16 array")
    if masks.ndim != 3:
        raise ValueError(f"masks of shape {masks.shape} given, expected three axes (N, h, w)")
    if 0 in masks.shape:
        raise ValueError(f"masks of shape {masks.shape} given, expected at least one mask of one node")
    if max(masks.shape[1:]) > MAX_SIDE:
        raise ValueError(f"masks of shape {masks.shape} given, expected sides of at most {MAX_SIDE}")
    contiguous: Any = np.ascontiguousarray(masks)
    return contiguous  # type: ignore[no-any-return]


def _checked_background(background: float | None) -> float | None:
    if background is None:
        return None
    constant = float(background)
    if not np.isfinite(constant):
        raise ValueError(f"background {constant} given, expected a finite number or None")
    return max(-1e20, min(constant, 1e20))  # as masks are limited; and so it fits float32


def _checked_classes(masks: Masks, background: float | None) -> int:
    classes = len(masks) + (background is not None)
    if classes > MAX_CLASSES:
        raise ValueError(f"{classes} classes given, expected at most {MAX_CLASSES} with the background")
    return classes


def _checked_size(size: tuple[int, ...]) -> tuple[int, int]:
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


def _checked_threads(threads: int) -> int:
    if isinstance(threads, bool) or not isinstance(threads, (int, np.integer)):
        raise TypeError(f"threads {threads!r} given, expected an integer")
    if threads < 1:
        raise ValueError(f"threads {threads} given, expected at least 1")
    return min(int(threads), 1024)


def _checked_frame(frame: Bytes) -> Bytes:
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8:
        raise TypeError(f"frame: {_described(frame)} given, expected a uint8 array")
    if frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
        raise ValueError(f"frame of shape {frame.shape} given, expected (H, W, 3) with at least one pixel")
    return frame if frame.strides[1:] == (3, 1) else np.ascontiguousarray(frame)


def _checked_paint(colors: Bytes, alpha: float, skip: int | None) -> dict[str, Any]:
    if not isinstance(colors, np.ndarray) or colors.dtype != np.uint8:
        raise TypeError(f"colors: {_described(colors)} given, expected a uint8 array")
    if colors.ndim != 2 or colors.shape[1] != 3 or len(colors) == 0:
        raise ValueError(f"colors of shape {colors.shape} given, expected (K, 3), one color a class")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha {alpha} given, expected 0 to 1")
    if skip is not None and not 0 <= skip < len(colors):
        raise ValueError(f"skip {skip} given, expected None or a class from 0 to {len(colors) - 1}")
    return {
        "colors": np.ascontiguousarray(colors),
        "alpha_256": int(alpha * 256 + 0.5),
        "skip": -1 if skip is None else int(skip),
    }


def _outputs(
    given: Any, *expected: tuple[tuple[int, ...], np.dtype[Any]], apart_from: Bytes | None = None
) -> list[npt.NDArray[Any]]:
    """Allocate the expected arrays, or check that those given are just like them."""
    if given is None:
        return [np.empty(shape, dtype) for shape, dtype in expected]
    arrays = [given] if len(expected) == 1 else given
    if not isinstance(arrays, (tuple, list)) or len(arrays) != len(expected):
        raise TypeError(f"out: {_described(given)} given, expected {len(expected)} arrays")
    for array, (shape, dtype) in zip(arrays, expected, strict=True):
        if not isinstance(array, np.ndarray) or array.dtype != dtype:
            raise TypeError(f"out: {_described(array)} given, expected a {dtype} array")
        if array.shape != shape or not array.flags.c_contiguous or not array.flags.writeable:
            raise ValueError(f"out: shape {array.shape} given, expected {shape}, contiguous and writable")
        if apart_from is not None and np.may_share_memory(array, apart_from):
            raise ValueError("out: overlaps the frame, expected separate memory")
    return list(arrays)


def node_brightness(frame: Bytes, size: tuple[int, int]) -> Bytes:
    """Average brightness of the frame around each mask node, (h,w) uint8."""
    planes = np.empty((3, *size), np.float32)
    _native.resize_normalize(frame, planes, bicubic=False, reverse_channels=False, scale=[1, 1, 1], shift=[0, 0, 0])
    brightness: Bytes = ((29 * planes[0] + 150 * planes[1] + 77 * planes[2]) / 256 + 0.5).astype(np.uint8)
    return brightness
