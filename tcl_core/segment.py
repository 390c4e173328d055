"""Steps of the reference inference: padding, sliding window, known prior, resizing, background, label map.

`TCL.segment` puts them in order for one window; everything downstream is compared with it.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from tcl_core.grounder import similarity

# sigmoid(10 * (cosine - 0.25)): the mask of an untrained grounder, kept fixed for the known prior.
PRIOR_SCALE = 10.0
PRIOR_CENTRE = 0.25

THRESHOLD, THRESHOLD_WITH_PAMR = 0.5, 0.4
"""Soft mask that a word must exceed, in the paper."""

Padding = tuple[int, int, int, int]  # left, right, top, bottom: the order of torch.nn.functional.pad


def pad_to_multiple(images: Tensor, multiple_of: int) -> tuple[Tensor, Padding]:
    """Centre images (B,3,H,W) on zeros so that both sides are multiples; an odd pixel goes right and below.

    Zero is the mean colour, since images are normalised.
    """
    height, width = images.shape[-2:]
    vertical, horizontal = -height % multiple_of, -width % multiple_of
    left, top = horizontal // 2, vertical // 2
    padding = (left, horizontal - left, top, vertical - top)
    return F.pad(images, padding), padding


def crop(masks: Tensor, padding: Padding) -> Tensor:
    """Undo `pad_to_multiple` on maps of the padded size: (B,N,H',W') -> (B,N,H,W)."""
    left, right, top, bottom = padding
    height, width = masks.shape[-2:]
    return masks[..., top : height - bottom, left : width - right]


def resize(masks: Tensor, size: Sequence[int]) -> Tensor:
    """Resize maps (B,N,h,w) bilinearly, half-pixel centres, to `size` (height, width)."""
    return F.interpolate(masks, size=tuple(size), mode="bilinear", align_corners=False)


def known_prior(frozen_embeddings: Tensor, text_embeddings: Tensor) -> Tensor:
    """Soft masks of the frozen encoder: (B,C,h,w), (N,C) -> (B,N,h,w) in [0, 1]."""
    cosine = similarity(frozen_embeddings, text_embeddings)
    return torch.sigmoid(PRIOR_SCALE * (cosine - PRIOR_CENTRE))


def blend(masks: Tensor, prior: Tensor, weight: float) -> Tensor:
    """Mix a prior (B,N,h',w'), resized, into masks (B,N,h,w): weight * prior + (1 - weight) * masks."""
    return weight * resize(prior, masks.shape[-2:]) + (1 - weight) * masks


def window_starts(length: int, window: int, stride: int) -> list[int]:
    """Starts of windows that cover `length` pixels; the last is shifted back to end at the border."""
    count = max(length - window + stride - 1, 0) // stride + 1
    return [max(min(index * stride, length - window), 0) for index in range(count)]


def slide(
    segment: Callable[[Tensor], Tensor],
    images: Tensor,
    *,
    window: int = 448,
    stride: int = 224,
    batch: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Segment large images window by window and average where windows overlap.

    Args:
        segment: (B,3,h,w) -> soft masks (B,N,h,w).
        images: (B,3,H,W) float, normalised.
        window: side of a window in pixels; a shorter side of the image is taken whole.
        stride: step between windows in pixels, at most `window`.
        batch: windows at once; they all have the same size.
        progress: called with (windows done, windows in all).

    Returns:
        Soft masks (B,N,H,W).

    Raises:
        ValueError: a stride that would leave pixels uncovered.
    """
    if not 0 < stride <= window:
        raise ValueError(f"stride is {stride} for a window of {window}: expected between 1 and the window")
    height, width = images.shape[-2:]
    corners = [
        (top, left) for top in window_starts(height, window, stride) for left in window_starts(width, window, stride)
    ]
    total, count = None, images.new_zeros(height, width)
    for start in range(0, len(corners), batch):
        areas = [
            (..., slice(top, top + window), slice(left, left + window)) for top, left in corners[start : start + batch]
        ]
        several = segment(torch.cat([images[area] for area in areas]))
        for index, area in enumerate(areas):
            masks = several[index * len(images) : (index + 1) * len(images)]
            if total is None:
                total = masks.new_zeros(*masks.shape[:2], height, width)
            total[area] += masks
            count[area] += 1
        if progress:
            progress(min(start + batch, len(corners)), len(corners))
    assert total is not None  # there is at least one window
    return total / count


def label_map(
    masks: Tensor, background_threshold: float | None = None, background_masks: Tensor | None = None
) -> Tensor:
    """Choose the best word for every pixel.

    Args:
        masks: soft masks (B,N,H,W) of the words.
        background_threshold: what a mask must exceed; the paper takes 0.4 with PAMR and 0.5 without.
        background_masks: soft masks (B,K,H,W) of words that count as background; K may be 0.

    Returns:
        int64 (B,H,W). With a threshold, or with background words, label 0 is background and word n is label n + 1;
        otherwise word n is label n.
    """
    background = []
    if background_threshold is not None:
        background.append(torch.full_like(masks[:, :1], background_threshold))
    if background_masks is not None and background_masks.shape[1]:
        background.append(background_masks.amax(dim=1, keepdim=True))
    if background:
        masks = torch.cat([torch.cat(background, dim=1).amax(dim=1, keepdim=True), masks], dim=1)
    return masks.argmax(dim=1)
