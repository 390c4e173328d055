"""How sure is a mean IoU? Pictures are drawn again and again, with replacement, and it is computed each time."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tcl_core.evaluate.counts import ClassCounts

NUM_DRAWS = 1000
LEVEL = 0.95
CHUNK = 100  # draws at once; only memory depends on it


@dataclass(frozen=True)
class Interval:
    """A figure and where 95 % of its draws lie.

    Attributes:
        value: of the pictures as they are.
        low: percentile of the draws.
        high: percentile of the draws.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class PairedDifference:
    """What one system gains over another on the same pictures.

    Attributes:
        difference: mean IoU of the first minus that of the second.
        share_above_zero: share of the draws in which the first is better.
    """

    difference: Interval
    share_above_zero: float


def draw(num_pictures: int, num_draws: int = NUM_DRAWS, seed: int = 0) -> Tensor:
    """Draw pictures with replacement: how often each comes, int64 (draws,P); the same for the same numbers."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(num_pictures, (num_draws, num_pictures), generator=generator)
    return torch.zeros(num_draws, num_pictures, dtype=torch.int64).scatter_add_(1, chosen, torch.ones_like(chosen))


def mean_ious(counts: ClassCounts, draws: Tensor) -> Tensor:
    """Mean IoU of every draw: counts (P,N), int64 (D,P) -> float64 (D)."""
    weights = draws.double()  # exact: pixels of all pictures are far below 2**53
    intersection, union = counts.intersection.double(), counts.union.double()
    parts = (weights[start : start + CHUNK] for start in range(0, len(weights), CHUNK))
    found = [(part @ intersection / (part @ union)).nanmean(dim=1) for part in parts]
    return torch.cat(found)


def interval(counts: ClassCounts, *, num_draws: int = NUM_DRAWS, seed: int = 0) -> Interval:
    """Say how sure a mean IoU is: counts (P,N)."""
    found = mean_ious(counts, draw(len(counts.label), num_draws, seed))
    return _around(counts.summed().mean_iou, found)


def paired_difference(
    first: ClassCounts, second: ClassCounts, *, num_draws: int = NUM_DRAWS, seed: int = 0
) -> PairedDifference:
    """Compare two systems on the same pictures, drawn together: counts (P,N) each, in the same order.

    Raises:
        ValueError: numbers of pictures that differ.
    """
    if len(first.label) != len(second.label):
        raise ValueError(
            f"{len(first.label)} pictures against {len(second.label)}: expected the same pictures, in the same order"
        )
    draws = draw(len(first.label), num_draws, seed)
    found = mean_ious(first, draws) - mean_ious(second, draws)
    value = first.summed().mean_iou - second.summed().mean_iou
    return PairedDifference(_around(value, found), float((found > 0).double().mean()))


def _around(value: float, found: Tensor) -> Interval:
    known = found[~found.isnan()]
    if not len(known):
        return Interval(value, float("nan"), float("nan"))
    low, high = torch.quantile(known, torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=torch.float64)).tolist()
    return Interval(value, low, high)


__all__ = ["LEVEL", "NUM_DRAWS", "Interval", "PairedDifference", "draw", "interval", "mean_ious", "paired_difference"]
