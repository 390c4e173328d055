"""Does a model know when it is wrong? Confidence against accuracy, and what is gained by leaving pixels out."""

from dataclasses import dataclass

import torch
from torch import Tensor

NUM_BINS = 20
FINE = 50  # finer bins in one, for the curve
COVERAGES = tuple(step / 10 for step in range(1, 11))


@dataclass
class Calibration:
    """Pixels by how sure the model was of their label.

    Attributes:
        total: int64 (bins), pixels.
        right: int64 (bins), pixels whose label is right.
        confidence: float64 (bins), sum of the confidences.
        possible: False once a score was seen that is no probability; then there are no figures.
    """

    total: Tensor
    right: Tensor
    confidence: Tensor
    possible: bool = True

    @classmethod
    def empty(cls) -> "Calibration":
        """Start with no picture."""
        count = NUM_BINS * FINE
        zeros = torch.zeros(count, dtype=torch.int64)
        return cls(zeros, zeros.clone(), torch.zeros(count, dtype=torch.float64))

    def add(self, confidence: Tensor, right: Tensor) -> None:
        """Count pixels: float (M) in [0, 1], bool (M)."""
        if not self.possible or not len(confidence):
            return
        if float(confidence.min()) < -1e-6 or float(confidence.max()) > 1 + 1e-6:
            self.possible = False
            return
        count = len(self.total)
        confidence = confidence.double().clamp(0, 1)
        bins = (confidence * count).long().clamp(max=count - 1)
        self.total += torch.bincount(bins, minlength=count)
        self.right += torch.bincount(bins[right], minlength=count)
        self.confidence += torch.bincount(bins, weights=confidence, minlength=count)

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance of confidence and accuracy, bin by bin; NaN if unknown."""
        if not self.possible or not int(self.total.sum()):
            return float("nan")
        total, right, confidence = (
            counts.reshape(NUM_BINS, FINE).sum(dim=1).double() for counts in (self.total, self.right, self.confidence)
        )
        return float((right - confidence).abs().sum() / total.sum())

    def curve(self) -> list[tuple[float, float]]:
        """Accuracy of the surest pixels: (share of all pixels, accuracy) for tenths; empty if unknown.

        Pixels of one fine bin are taken as equally sure.
        """
        if not self.possible or not int(self.total.sum()):
            return []
        total, right = (counts.flip(0).double().cumsum(dim=0) for counts in (self.total, self.right))
        points = []
        for coverage in COVERAGES:
            wanted = coverage * float(total[-1])
            index = int(torch.searchsorted(total, torch.tensor(wanted, dtype=torch.float64)).clamp(max=len(total) - 1))
            before, right_before = (float(total[index - 1]), float(right[index - 1])) if index else (0.0, 0.0)
            inside = float(total[index]) - before
            part = (wanted - before) / inside if inside else 0.0
            points.append((coverage, (right_before + part * (float(right[index]) - right_before)) / wanted))
        return points


__all__ = ["COVERAGES", "NUM_BINS", "Calibration"]
