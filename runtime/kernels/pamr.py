"""PAMR: pixel-adaptive mask refinement (Araslanov and Roth, CVPR 2020), in C++.

Every pixel of a mask becomes an average of its neighbours, weighted by how alike they are in colour, ten times
over. The result is that of `tcl_core.pamr.refine` within 1e-5, without PyTorch.

Letters: N masks, h w mask grid, H W pixels.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from runtime import _native
from runtime.kernels.arguments import Masks, checked_masks, checked_threads, described
from runtime.kernels.labels import LabelRule

DILATIONS = (1, 2, 4, 8, 12, 24)
NUM_ITERATIONS = 10


def pamr(
    masks: Masks,
    image: npt.NDArray[Any],
    *,
    contenders: npt.NDArray[np.bool_] | None = None,
    dilations: Sequence[int] = DILATIONS,
    iterations: int = NUM_ITERATIONS,
    threads: int = 1,
) -> npt.NDArray[np.float32]:
    """Align soft masks with the edges of a picture, at the resolution of the masks.

    Args:
        masks: soft masks (N,h,w) float32 or float16, finite.
        image: the picture (H,W,3) of any size, any real dtype and channel order, finite; only ratios of colour
            differences count.
        contenders: refine only these masks, (N,) bool, as given by `contenders`. The others become constant
            at their minimum, so that they win nowhere where they would not have won.
        dilations: distances of the neighbours in pixels of the mask grid.
        iterations: how often to average.
        threads: classes worked on at the same time.

    Returns:
        Refined masks (N,h,w) float32.

    Raises:
        TypeError: a dtype other than those above.
        ValueError: a shape that does not fit, no dilations, or numbers below their minimum.
        MemoryError: the result does not fit into memory.
    """
    values = np.ascontiguousarray(checked_masks(masks), np.float32)
    _check(image, dilations, iterations)
    picture = _resized(image, (values.shape[1], values.shape[2]))
    settings: dict[str, Any] = {
        "dilations": list(map(int, dilations)),
        "iterations": iterations,
        "threads": checked_threads(threads),
    }
    if contenders is None:
        return _native.pamr(values, picture, **settings)
    if contenders.shape != (len(values),) or contenders.dtype != np.bool_:
        raise ValueError(
            f"contenders of shape {contenders.shape} {contenders.dtype} given, expected ({len(values)},) bool"
        )
    refined = np.empty_like(values)
    refined[~contenders] = values[~contenders].min(axis=(1, 2), keepdims=True)
    if contenders.any():
        refined[contenders] = _native.pamr(values[contenders], picture, **settings)
    return refined


def contenders(masks: Masks, *, background: float | None = None) -> npt.NDArray[np.bool_]:
    """Tell which masks can still win somewhere after refinement.

    Averages keep the order: a mask that another one, or the background, exceeds everywhere cannot win.

    Args:
        masks: soft masks (N,h,w) float32 or float16, finite.
        background: constant value of the background, if there is one.

    Returns:
        (N,) bool.
    """
    values = np.asarray(masks, np.float32).reshape(len(masks), -1)
    # What refinement may add by rounding, generously.
    margin = 1e-5 * max(float(np.abs(values).max()), abs(background or 0.0))
    highest, lowest = values.max(1), values.min(1)
    chosen: npt.NDArray[np.bool_] = np.ones(len(values), np.bool_)
    if background is not None:
        chosen = highest >= background - margin
    winners = np.unique(values[:, :: max(values.shape[1] // 4096, 1)].argmax(0))
    is_winner = np.isin(np.arange(len(values)), winners)  # somewhere, so that nothing exceeds it everywhere
    for winner in winners:
        open_ = chosen & ~is_winner & (lowest < highest[winner] - margin)
        below = (values[open_] < values[winner] - margin).all(1)
        chosen[np.flatnonzero(open_)[below]] = False
    return chosen


def enlarged(masks: npt.NDArray[np.float32], network_size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Enlarge masks (K,h,w) to a quarter of the network's input, where TCL refines them; finer masks stay as fine."""
    height, width = (max(side // 4, grid) for side, grid in zip(network_size, masks.shape[1:], strict=True))
    if (height, width) == masks.shape[1:]:
        return masks
    return np.stack([cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR) for mask in masks])


def refined(
    masks: npt.NDArray[np.float32],
    frame: npt.NDArray[np.uint8],
    network_size: tuple[int, int],
    rule: LabelRule,
) -> npt.NDArray[np.float32]:
    """Refine the masks of a frame at the resolution of `enlarged`; those that cannot win anywhere are left out.

    Args:
        masks: soft masks (K,h,w).
        frame: the picture (H,W,3), channels in any order.
        network_size: (height, width) of the network's input for this frame, in pixels.
        rule: how they become labels afterwards.

    Returns:
        Refined masks (K,h',w') float32.
    """
    masks = enlarged(masks, network_size)
    if rule.thresholds is not None:  # a mask that is exceeded everywhere may win where that one takes no part
        return pamr(masks, frame, threads=rule.threads)
    return pamr(masks, frame, contenders=contenders(masks, background=rule.background), threads=rule.threads)


def _check(image: npt.NDArray[Any], dilations: Sequence[int], iterations: int) -> None:
    if not isinstance(image, np.ndarray) or image.dtype.kind not in "uif":
        raise TypeError(f"image: {described(image)} given, expected an array of real numbers")
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"image of shape {image.shape} given, expected (H, W, 3) with at least one pixel")
    if len(dilations) == 0 or min(dilations) < 1 or max(dilations) > 1024:
        raise ValueError(f"dilations {tuple(dilations)} given, expected at least one, of 1 to 1024 each")
    if iterations < 0:
        raise ValueError(f"iterations {iterations} given, expected 0 or more")


def _resized(image: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Resize (H,W,3) to (3,h,w): bilinear with aligned corners, unlike everywhere else: so the reference does."""
    for axis in (0, 1):
        length, pixels = image.shape[axis], size[axis]
        at = np.arange(pixels) * ((length - 1) / max(pixels - 1, 1))
        low = np.minimum(at.astype(np.int64), length - 1)
        high = np.minimum(low + 1, length - 1)
        share = (at - low).astype(np.float32).reshape((-1, 1, 1) if axis == 0 else (-1, 1))
        image = image.take(low, axis) * (1 - share) + image.take(high, axis) * share
    return np.ascontiguousarray(image.transpose(2, 0, 1), np.float32)
