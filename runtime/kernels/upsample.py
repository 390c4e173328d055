"""Soft masks on a coarse grid -> a class for every pixel, and its colour on the frame, in one pass of C++.

The result is that of enlarging every mask to the frame (bilinear, half-pixel centres, clamped at the border)
and taking the largest at each pixel. `runtime/kernels/reference.py` says in NumPy exactly what is
computed; the C++ gives the same labels, confidences and colours to the last bit, on every machine.

* Equal values go to the lowest class.
* Values beyond ±1e20, infinities included, count as ±1e20.
* NaN counts as far below that: a pixel gets a class that is NaN around it only if every class is. It exceeds no
  threshold but -inf.
* A value that equals its threshold does not exceed it.

Letters: N masks, K classes (masks, and a background if there is one), h w mask grid, H W pixels.
All may be read-only, and no argument but `out` is written to. Masks that are not contiguous are copied; frames only if
the three bytes of a pixel or the pixels of a row are not neighbours.
"""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from runtime import _native
from runtime.kernels.arguments import (
    checked_background,
    checked_classes,
    checked_frame,
    checked_masks,
    checked_paint,
    checked_size,
    checked_threads,
    checked_thresholds,
    described,
    outputs,
)
from runtime.kernels.reference import (
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

BYTE = np.dtype(np.uint8)
Thresholds: TypeAlias = Sequence[float] | npt.NDArray[Any]


@overload
def upsample_argmax(
    masks: Masks,
    size: tuple[int, int],
    *,
    background: float | None = None,
    thresholds: Thresholds | None = None,
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
    thresholds: Thresholds | None = None,
    confidence: Literal[True],
    threads: int = 1,
    out: tuple[Labels, Bytes] | None = None,
) -> tuple[Labels, Bytes]: ...
def upsample_argmax(
    masks: Masks,
    size: tuple[int, int],
    *,
    background: float | None = None,
    thresholds: Thresholds | None = None,
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
        thresholds: (N,) numbers. A mask takes part only at pixels where it exceeds its threshold; where none does,
            the pixel is background. So either there is a `background`, or mask 0 is the background and
            thresholds[0] is -inf, which lets a mask take part everywhere.
        confidence: also give the winner's value.
        threads: rows worked on at the same time, from about one megapixel on.
        out: what an earlier call with the same arguments returned, to be overwritten. Saves fetching memory from
            the system for every frame.

    Returns:
        Labels (H,W), uint8 up to 256 classes, otherwise uint16. With `confidence` also the winner's value, clamped
        to [0, 1], times 255, rounded half up, (H,W) uint8.

    Raises:
        TypeError: a dtype other than those above.
        ValueError: a shape that does not fit; no masks or over 65,535 classes; sides over 65,535 pixels;
            thresholds that leave a pixel without a class.
        MemoryError: the result does not fit into memory.
    """
    values, constant = checked_masks(masks), checked_background(background)
    limits = checked_thresholds(thresholds, values, constant)
    classes = checked_classes(values, constant)
    shape = checked_size(size)
    count = checked_threads(threads)
    if not confidence:
        (labels,) = outputs(out, (shape, label_dtype(classes)))
        _native.upsample(values, labels, background=constant, thresholds=limits, threads=count)
        return labels
    labels, scores = outputs(out, (shape, label_dtype(classes)), (shape, BYTE))
    _native.upsample(values, labels, background=constant, thresholds=limits, confidence=scores, threads=count)
    return labels, scores


@overload
def upsample_overlay(
    masks: Masks,
    frame: Bytes,
    colours: Bytes,
    *,
    alpha: float,
    background: float | None = None,
    thresholds: Thresholds | None = None,
    skip: int | None = None,
    confidence: Literal[False] = False,
    threads: int = 1,
    out: tuple[Labels, Bytes] | None = None,
) -> tuple[Labels, Bytes]: ...
@overload
def upsample_overlay(
    masks: Masks,
    frame: Bytes,
    colours: Bytes,
    *,
    alpha: float,
    background: float | None = None,
    thresholds: Thresholds | None = None,
    skip: int | None = None,
    confidence: Literal[True],
    threads: int = 1,
    out: tuple[Labels, Bytes, Bytes] | None = None,
) -> tuple[Labels, Bytes, Bytes]: ...
def upsample_overlay(
    masks: Masks,
    frame: Bytes,
    colours: Bytes,
    *,
    alpha: float,
    background: float | None = None,
    thresholds: Thresholds | None = None,
    skip: int | None = None,
    confidence: bool = False,
    threads: int = 1,
    out: Any = None,
) -> tuple[Labels, Bytes] | tuple[Labels, Bytes, Bytes]:
    """Find the class of every pixel and paint the classes over the frame.

    Args:
        masks: as for `upsample_argmax`.
        frame: picture (H,W,3) uint8; its size is that of the result.
        colours: colour of each class (K,3) uint8, in the frame's channel order. With a background, the first one
            is the background's.
        alpha: opacity of the colours in [0, 1], to the nearest 1/256.
        background: as for `upsample_argmax`.
        thresholds: as for `upsample_argmax`.
        skip: class that leaves the frame as it is, typically 0 where there is a background.
        confidence: as for `upsample_argmax`.
        threads: as for `upsample_argmax`.
        out: as for `upsample_argmax`.

    Returns:
        Labels (H,W) and the blended picture (H,W,3) uint8; with `confidence` also the confidence (H,W) uint8.

    Raises:
        TypeError, ValueError, MemoryError: as for `upsample_argmax`.
    """
    values, constant = checked_masks(masks), checked_background(background)
    limits = checked_thresholds(thresholds, values, constant)
    classes = checked_classes(values, constant)
    pixels = checked_frame(frame)
    size = checked_size(pixels.shape[:2])
    paint = checked_paint(colours, alpha, skip)
    if len(paint["colours"]) != classes:
        raise ValueError(f"{len(colours)} colours given, expected one for each of the {classes} classes")
    paint.update(frame=pixels, threads=checked_threads(threads))
    expected = [(size, label_dtype(classes)), ((*size, 3), BYTE)]
    if not confidence:
        labels, blended = outputs(out, *expected, apart_from=pixels)
        _native.upsample(values, labels, background=constant, thresholds=limits, blended=blended, **paint)
        return labels, blended
    labels, blended, scores = outputs(out, *expected, (size, BYTE), apart_from=pixels)
    _native.upsample(
        values,
        labels,
        background=constant,
        thresholds=limits,
        blended=blended,
        confidence=scores,
        **paint,
    )
    return labels, blended, scores


@overload
def upsample_guided(
    masks: Masks,
    frame: Bytes,
    *,
    tolerance: float = 20.0,
    background: float | None = None,
    thresholds: Thresholds | None = None,
    confidence: Literal[False] = False,
    threads: int = 1,
    out: Labels | None = None,
) -> Labels: ...
@overload
def upsample_guided(
    masks: Masks,
    frame: Bytes,
    *,
    tolerance: float = 20.0,
    background: float | None = None,
    thresholds: Thresholds | None = None,
    confidence: Literal[True],
    threads: int = 1,
    out: tuple[Labels, Bytes] | None = None,
) -> tuple[Labels, Bytes]: ...
def upsample_guided(
    masks: Masks,
    frame: Bytes,
    *,
    tolerance: float = 20.0,
    background: float | None = None,
    thresholds: Thresholds | None = None,
    confidence: bool = False,
    threads: int = 1,
    out: Any = None,
) -> Labels | tuple[Labels, Bytes]:
    """Find the class of every pixel, with borders that follow the edges of the frame.

    Joint bilateral: the four nodes around a pixel count as much more as their brightness is like the pixel's.

    Args:
        masks: as for `upsample_argmax`.
        frame: picture BGR (H,W,3) uint8; its size is that of the result.
        tolerance: difference in brightness, of 255, at which a node counts 0.6 of what it would; over 0.
        background: as for `upsample_argmax`.
        thresholds: as for `upsample_argmax`.
        confidence: as for `upsample_argmax`; the value is the nodes' weighted mean.
        threads: as for `upsample_argmax`.
        out: as for `upsample_argmax`.

    Returns:
        As `upsample_argmax`.

    Raises:
        TypeError, ValueError, MemoryError: as for `upsample_argmax`.
    """
    values, constant = checked_masks(masks), checked_background(background)
    limits = checked_thresholds(thresholds, values, constant)
    classes = checked_classes(values, constant)
    pixels = checked_frame(frame)
    size = checked_size(pixels.shape[:2])
    if not 0 < tolerance < np.inf:
        raise ValueError(f"tolerance {tolerance} given, expected a number over 0")
    guide: dict[str, Any] = {
        "guide": pixels,
        "brightness": node_brightness(pixels, (values.shape[1], values.shape[2])),
        "likeness": likeness_table(tolerance),
        "background": constant,
        "thresholds": limits,
        "threads": checked_threads(threads),
    }
    if not confidence:
        (labels,) = outputs(out, (size, label_dtype(classes)))
        _native.upsample(values, labels, **guide)
        return labels
    labels, scores = outputs(out, (size, label_dtype(classes)), (size, BYTE))
    _native.upsample(values, labels, confidence=scores, **guide)
    return labels, scores


def blend(
    frame: Bytes,
    labels: Labels,
    colours: Bytes,
    *,
    alpha: float,
    skip: int | None = None,
    out: Bytes | None = None,
) -> Bytes:
    """Paint given labels over a frame.

    Args:
        frame: picture (H,W,3) uint8.
        labels: class of every pixel (H,W) uint8 or uint16.
        colours: colour of each class (K,3) uint8, in the frame's channel order.
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
    pixels = checked_frame(frame)
    if not isinstance(labels, np.ndarray) or labels.dtype not in (np.uint8, np.uint16):
        raise TypeError(f"labels: {described(labels)} given, expected a uint8 or uint16 array")
    if labels.shape != pixels.shape[:2]:
        raise ValueError(f"labels of shape {labels.shape} given, expected {pixels.shape[:2]} like the frame")
    paint = checked_paint(colours, alpha, skip)
    (blended,) = outputs(out, (pixels.shape, BYTE), apart_from=pixels)
    contiguous: Any = np.ascontiguousarray(labels)
    _native.blend(pixels, contiguous, blended=blended, **paint)
    return blended


def node_brightness(frame: Bytes, size: tuple[int, int]) -> Bytes:
    """Average brightness of the frame around each mask node, (h,w) uint8."""
    planes = np.empty((3, *size), np.float32)
    _native.resize_normalize(frame, planes, bicubic=False, reverse_channels=False, scale=[1, 1, 1], shift=[0, 0, 0])
    brightness: Bytes = ((29 * planes[0] + 150 * planes[1] + 77 * planes[2]) / 256 + 0.5).astype(np.uint8)
    return brightness
