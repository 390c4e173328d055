"""Pixels counted as mmsegmentation counts them, picture by picture, so that pictures can be drawn again."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class ClassCounts:
    """Pixels of every class, of one picture or summed over many.

    Attributes:
        intersection: int64 (...,N), labelled and predicted so.
        prediction: int64 (...,N), predicted so, of the pixels that count.
        label: int64 (...,N), labelled so.
    """

    intersection: Tensor
    prediction: Tensor
    label: Tensor

    @property
    def union(self) -> Tensor:
        """Labelled or predicted so: int64 (...,N)."""
        return self.prediction + self.label - self.intersection

    @property
    def iou(self) -> Tensor:
        """Intersection over union: float64 (...,N); NaN for what occurs nowhere, 0 for what is only predicted."""
        return self.intersection.double() / self.union

    @property
    def accuracy(self) -> Tensor:
        """Share of a class's pixels that were found: float64 (...,N); NaN for what is not labelled."""
        return self.intersection.double() / self.label

    @property
    def mean_iou(self) -> float:
        """MIoU, of the classes that occur in truth or prediction."""
        return float(self.iou.nanmean())

    @property
    def mean_accuracy(self) -> float:
        """MAcc, of the classes that occur in the truth."""
        return float(self.accuracy.nanmean())

    @property
    def pixel_accuracy(self) -> float:
        """AAcc: share of all labelled pixels that are right."""
        return float(self.intersection.sum().double() / self.label.sum())

    @property
    def share_of_zeros(self) -> float:
        """Share of the classes with an IoU, which is 0."""
        known = self.iou[~self.iou.isnan()]
        return float((known == 0).double().mean())

    def summed(self) -> "ClassCounts":
        """Sum over pictures: (P,N) -> (N)."""
        return ClassCounts(self.intersection.sum(dim=0), self.prediction.sum(dim=0), self.label.sum(dim=0))


def count_pixels(truth: Tensor, predicted: Tensor, num_classes: int, void: int) -> ClassCounts:
    """Count one picture.

    A label that is neither a class nor void drops out of the labels, while what is predicted there still counts
    against its class: so mmsegmentation does.

    Args:
        truth: int64, any shape.
        predicted: int64 of the same shape, in [0, N).
        num_classes: N.
        void: label of pixels that do not count.
    """
    counted = truth != void
    truth, predicted = truth[counted], predicted[counted]

    def histogram(labels: Tensor) -> Tensor:
        return torch.bincount(labels[labels < num_classes], minlength=num_classes)

    return ClassCounts(histogram(truth[truth == predicted]), histogram(predicted), histogram(truth))


def stacked(counts: list[ClassCounts]) -> ClassCounts:
    """Put the counts of P pictures together: (N) each -> (P,N)."""
    return ClassCounts(
        torch.stack([one.intersection for one in counts]),
        torch.stack([one.prediction for one in counts]),
        torch.stack([one.label for one in counts]),
    )


__all__ = ["ClassCounts", "count_pixels", "stacked"]
