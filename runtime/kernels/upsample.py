"""Soft masks on a coarse grid -> a class for every pixel, and its colour on the frame, in one pass of C++.

    rule, paint = LabelRule(background=0.5, threads=4), Paint(colours, alpha=0.5, skip=0)
    result = upsample_overlay(masks, frame, paint, rule)
    result.labels, result.blended
    result = upsample_overlay(next_masks, next_frame, paint, rule, out=result)  # into the same memory

The result is that of enlarging every mask to the frame (bilinear, half-pixel centres, clamped at the border)
and taking the largest at each pixel. `runtime/kernels/reference.py` says in NumPy exactly what is
computed; the C++ gives the same labels, confidences and colours to the last bit, on every machine.

* Equal values go to the lowest class.
* Values beyond ±1e20, infinities included, count as ±1e20.
* NaN counts as far below that: a pixel gets a class that is NaN around it only if every class is. It exceeds no
  threshold but -inf.
* A value that equals its threshold does not exceed it.

Letters: N masks, K classes (the masks, and a background if there is one), h w mask grid, H W pixels.
All may be read-only, and no argument but `out` is written to. Masks that are not contiguous are copied; frames only if
the three bytes of a pixel or the pixels of a row are not neighbours.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from runtime import _native
from runtime.kernels.arguments import (
    Bytes,
    Labels,
    Masks,
    checked_frame,
    checked_labels,
    checked_masks,
    checked_size,
    described,
    output,
)
from runtime.kernels.labels import LARGEST_WINS, LabelMap, LabelRule, Paint, label_dtype
from runtime.kernels.reference import likeness_table

BYTE = np.dtype(np.uint8)


def upsample_argmax(
    masks: Masks,
    size: Sequence[int],
    rule: LabelRule = LARGEST_WINS,
    *,
    confidence: bool = False,
    out: LabelMap | None = None,
) -> LabelMap:
    """Find the class of every pixel.

    Args:
        masks: soft masks (N,h,w) float32 or float16, any range.
        size: (H, W) of the result.
        rule: how they become labels.
        confidence: also give the winner's value.
        out: what an earlier call of the same size returned, to be overwritten; what is None there is allocated. Saves
            fetching memory from the system for every frame.

    Returns:
        The labels, and the confidence if asked for.

    Raises:
        TypeError: a dtype other than those above.
        ValueError: a shape that does not fit; no masks or over 65,535 classes; sides over 65,535 pixels.
        MemoryError: the result does not fit into memory.
    """
    return _upsample(checked_masks(masks), checked_size(size), rule, confidence, out)


def upsample_overlay(
    masks: Masks,
    frame: Bytes,
    paint: Paint,
    rule: LabelRule = LARGEST_WINS,
    *,
    confidence: bool = False,
    out: LabelMap | None = None,
) -> LabelMap:
    """Find the class of every pixel and paint the classes over the frame.

    Args:
        masks: as for `upsample_argmax`.
        frame: picture (H,W,3) uint8; its size is that of the result.
        paint: a colour for each class.
        rule: as for `upsample_argmax`.
        confidence: as for `upsample_argmax`.
        out: as for `upsample_argmax`; must not overlap the frame.

    Returns:
        The labels and the blended picture, and the confidence if asked for.

    Raises:
        TypeError, ValueError, MemoryError: as for `upsample_argmax`.
    """
    pixels = checked_frame(frame)
    return _upsample(checked_masks(masks), pixels.shape[:2], rule, confidence, out, frame=pixels, paint=paint)


def upsample_guided(
    masks: Masks,
    frame: Bytes,
    rule: LabelRule = LARGEST_WINS,
    *,
    tolerance: float = 20.0,
    paint: Paint | None = None,
    confidence: bool = False,
    out: LabelMap | None = None,
) -> LabelMap:
    """Find the class of every pixel, with borders that follow the edges of the frame.

    Joint bilateral: the four nodes around a pixel count as much more as their brightness is like the pixel's.

    Args:
        masks: as for `upsample_argmax`.
        frame: picture BGR (H,W,3) uint8; its size is that of the result.
        rule: as for `upsample_argmax`.
        tolerance: difference in brightness, of 255, at which a node counts 0.6 of what it would; over 0.
        paint: also paint the classes over the frame.
        confidence: as for `upsample_argmax`; the value is the nodes' weighted mean.
        out: as for `upsample_argmax`; must not overlap the frame.

    Returns:
        The labels, and what else was asked for.

    Raises:
        TypeError, ValueError, MemoryError: as for `upsample_argmax`.
    """
    values, pixels = checked_masks(masks), checked_frame(frame)
    if not 0 < tolerance < np.inf:
        raise ValueError(f"tolerance {tolerance} given, expected a number over 0")
    guide = {
        "guide": pixels,
        "brightness": node_brightness(pixels, (values.shape[1], values.shape[2])),
        "likeness": likeness_table(tolerance),
    }
    return _upsample(values, pixels.shape[:2], rule, confidence, out, frame=pixels, paint=paint, **guide)


def _outputs(
    given: LabelMap | None,
    size: tuple[int, int],
    classes: int,
    *,
    confidence: bool,
    blended: bool,
    frame: Bytes | None,
) -> LabelMap:
    """Gather the arrays that a call fills: those given, and new ones for what is None there."""
    if given is not None and not isinstance(given, LabelMap):
        raise TypeError(f"out: {described(given)} given, expected a LabelMap, as an earlier call returned it")
    old = {} if given is None else vars(given)

    def array(name: str, shape: tuple[int, ...], dtype: np.dtype[Any] = BYTE) -> Any:
        return output(f"out.{name}", old.get(name), shape, dtype, frame=frame)

    return LabelMap(
        labels=array("labels", size, label_dtype(classes)),
        confidence=array("confidence", size) if confidence else None,
        blended=array("blended", (*size, 3)) if blended else None,
    )


def _upsample(
    masks: Masks,
    size: tuple[int, int],
    rule: LabelRule,
    confidence: bool,
    out: LabelMap | None,
    *,
    frame: Bytes | None = None,
    paint: Paint | None = None,
    **guide: Any,
) -> LabelMap:
    classes = rule.num_classes(masks)
    painted: dict[str, Any] = {}
    if paint is not None:
        if len(paint.colours) != classes:
            raise ValueError(f"{len(paint.colours)} colours given, expected one for each of the {classes} classes")
        painted = {"frame": frame, "colours": paint.colours, "alpha_256": paint.alpha_256, "skip": paint.skip}
    result = _outputs(out, size, classes, confidence=confidence, blended=paint is not None, frame=frame)
    _native.upsample(
        masks,
        result.labels,
        background=rule.background,
        thresholds=rule.thresholds,
        threads=rule.threads,
        confidence=result.confidence,
        blended=result.blended,
        **painted,
        **guide,
    )
    return result


def blend(frame: Bytes, labels: Labels, paint: Paint, *, out: Bytes | None = None) -> Bytes:
    """Paint given labels over a frame.

    Args:
        frame: picture (H,W,3) uint8.
        labels: class of every pixel (H,W) uint8 or uint16.
        paint: a colour for each class.
        out: picture to write the result to, which must not overlap the frame.

    Returns:
        The blended picture (H,W,3) uint8.

    Raises:
        TypeError: a dtype other than those above.
        ValueError: a shape that does not fit, or a label without a colour.
        MemoryError: the result does not fit into memory.
    """
    pixels = checked_frame(frame)
    blended = output("out", out, pixels.shape, BYTE, frame=pixels)
    classes = checked_labels(labels, pixels)
    _native.blend(pixels, classes, paint.colours, blended, alpha_256=paint.alpha_256, skip=paint.skip)
    return blended


def node_brightness(frame: Bytes, size: tuple[int, int]) -> Bytes:
    """Average brightness of the frame around each mask node, (h,w) uint8."""
    planes = np.empty((3, *size), np.float32)
    _native.resize_normalize(frame, planes, bicubic=False, reverse_channels=False, scale=[1, 1, 1], shift=[0, 0, 0])
    brightness: Bytes = ((29 * planes[0] + 150 * planes[1] + 77 * planes[2]) / 256 + 0.5).astype(np.uint8)
    return brightness
