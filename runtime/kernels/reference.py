"""What `runtime.kernels.upsample` computes, in plain NumPy: the definition, and what the tests compare with.

Letters as there: N masks, K classes, h w mask grid, H W pixels.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.kernels.arguments import Bytes, Labels, Masks
from runtime.kernels.labels import LARGEST_WINS, LIMIT, LabelMap, LabelRule, Paint, label_dtype


def likeness_table(tolerance: float) -> npt.NDArray[np.float32]:
    """Weight of a node by how far its brightness is from the pixel's; never 0, so that some node always counts."""
    difference = np.arange(256)
    return np.maximum(np.exp(-(difference**2) / (2 * tolerance**2)), 1e-3).astype(np.float32)


def _scores(masks: Masks, rule: LabelRule) -> npt.NDArray[np.float32]:
    """All classes (K,h,w), with limits, and a number for NaN."""
    scores = np.asarray(masks, np.float32)
    if rule.background is not None:
        scores = np.concatenate([np.full((1, *scores.shape[1:]), rule.background, np.float32), scores])
    lowest, limit = np.float32(-1e38), np.float32(LIMIT)
    cleaned: npt.NDArray[np.float32] = np.where(np.isnan(scores), lowest, scores.clip(-limit, limit))
    return cleaned


def _label_map(scores: npt.NDArray[np.float32], total: Any, rule: LabelRule) -> LabelMap:
    """Let the classes (K,H,W) that exceed their thresholds compete; scores are `total` times too large."""
    if rule.thresholds is not None:
        limits = rule.thresholds
        if rule.background is not None:
            limits = np.concatenate([np.full(1, -np.inf, np.float32), limits])
        scores = np.where(scores > limits[:, None, None] * total, scores, -np.inf)
    labels = scores.argmax(0).astype(label_dtype(len(scores)))
    confidence = ((scores.max(0) / total).clip(0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    return LabelMap(labels, confidence)


def reference_upsample_argmax(masks: Masks, size: tuple[int, int], rule: LabelRule = LARGEST_WINS) -> LabelMap:
    """Do in plain NumPy what `upsample_argmax` does with `confidence`, with memory for K x H x W floats."""
    scores = _scores(masks, rule)
    for axis in (1, 2):
        low, high, fraction = _taps(scores.shape[axis], size[axis - 1])
        fraction = fraction[:, None] if axis == 1 else fraction
        scores = (1 - fraction) * scores.take(low, axis) + fraction * scores.take(high, axis)
    return _label_map(scores, np.float32(1), rule)


def reference_upsample_guided(
    masks: Masks, frame: Bytes, brightness: Bytes, rule: LabelRule = LARGEST_WINS, *, tolerance: float = 20.0
) -> LabelMap:
    """Do in plain NumPy what `upsample_guided` does with `confidence`, with memory for K x H x W floats.

    `brightness` is that of the frame around each node, (h,w).
    """
    scores = _scores(masks, rule)
    nodes = brightness.astype(np.int64)
    pixels = (frame.astype(np.int64) @ np.array([29, 150, 77]) + 128) >> 8
    likeness = likeness_table(tolerance)
    low_y, high_y, down = _taps(scores.shape[1], frame.shape[0])
    low_x, high_x, right = _taps(scores.shape[2], frame.shape[1])
    value: Any = np.float32(0)
    total: Any = np.float32(0)
    for y, vertical in ((low_y, 1 - down), (high_y, down)):
        for x, horizontal in ((low_x, 1 - right), (high_x, right)):
            at = np.ix_(y, x)
            weight = vertical[:, None] * horizontal * likeness[np.abs(pixels - nodes[at])]
            value = value + weight * scores[:, at[0], at[1]]
            total = total + weight
    return _label_map(value, total, rule)


def _taps(length: int, pixels: int) -> tuple[Any, Any, Any]:
    """Two nodes of each pixel along one axis and the weight of the second, in exact integer arithmetic."""
    numerator = np.maximum((2 * np.arange(pixels) + 1) * length - pixels, 0)
    fixed = ((numerator << 24) + pixels) // (2 * pixels)  # coordinate in 1/2^24, rounded half up
    low = np.minimum(fixed >> 24, length - 1)
    return low, np.minimum(low + 1, length - 1), ((fixed & 0xFFFFFF) / 2**24).astype(np.float32)


def reference_blend(frame: Bytes, labels: Labels, paint: Paint) -> Bytes:
    """Do in plain NumPy what `blend` does: frame + alpha * (colour - frame), rounded half up."""
    weight = np.where(labels == (-1 if paint.skip is None else paint.skip), 0, paint.alpha_256)[..., None]
    blended: Bytes = ((frame * (256 - weight) + paint.colours[labels] * weight + 128) >> 8).astype(np.uint8)
    return blended
