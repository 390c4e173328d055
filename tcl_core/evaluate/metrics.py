"""How well label maps and masks fit the truth: intersection over union, pixel accuracy, the pointing game."""

from dataclasses import dataclass, field

import torch
from torch import Tensor


def confusion_of(truth: Tensor, predicted: Tensor, num_classes: int) -> Tensor:
    """Count pairs of labels in [0, K): two int64 (M,) -> int64 (K,K), rows are the truth."""
    return torch.bincount(truth * num_classes + predicted, minlength=num_classes**2).reshape(num_classes, num_classes)


def iou_of(confusion: Tensor) -> Tensor:
    """Intersection over union of every class: (K,K) -> float64 (K,); NaN for what occurs nowhere."""
    both = confusion.diagonal().double()
    return both / (confusion.sum(dim=0) + confusion.sum(dim=1) - both)


def mean_iou(confusion: Tensor) -> float:
    """Mean intersection over union of the classes that occur in truth or prediction: (K,K) -> [0, 1]."""
    return float(iou_of(confusion).nanmean())


def pixel_accuracy(confusion: Tensor) -> float:
    """Share of pixels with the right label: (K,K) -> [0, 1]; NaN without pixels."""
    return float(confusion.diagonal().sum().double() / confusion.sum())


@dataclass
class Pointing:
    """The pointing game: how often the highest place of a word's mask lies on the word.

    Attributes:
        hits: int64 (K,), pictures in which it does, by class.
        played: int64 (K,), pictures in which the class occurs.
    """

    hits: Tensor
    played: Tensor

    @classmethod
    def of(cls, num_classes: int) -> "Pointing":
        """Start a score with no game played."""
        return cls(torch.zeros(num_classes, dtype=torch.int64), torch.zeros(num_classes, dtype=torch.int64))

    def add(self, masks: Tensor, truth: Tensor) -> None:
        """Play one picture: soft masks (K,H,W) and labels int64 (H,W)."""
        present = torch.unique(truth)
        for word in present[present < len(masks)].tolist():
            self.played[word] += 1
            self.hits[word] += int(truth.flatten()[masks[word].argmax()] == word)

    @property
    def score(self) -> float:
        """Share of all games won, in [0, 1]; NaN if none was played."""
        return float(self.hits.sum().double() / self.played.sum())


@dataclass
class Tally:
    """Labels counted against the truth under one setting.

    Attributes:
        present_only: only the words that occur in a picture compete for its pixels.
        background: whether a pixel may be of no class; otherwise background pixels of the truth do not count.
        confusion: int64 (K+1,K+1) of K words and the background, rows are the truth.
    """

    present_only: bool
    background: bool
    confusion: Tensor = field(repr=False)

    @property
    def name(self) -> str:
        """For people."""
        return ("words present" if self.present_only else "all words") + (", background" if self.background else "")

    def add(self, masks: Tensor, background: Tensor, truth: Tensor, void: int) -> Tensor:
        """Label one picture and count.

        Args:
            masks: soft masks (K,H,W) of all words.
            background: (H,W), what a word's mask has to exceed.
            truth: int64 (H,W): word, K for background, or void.
            void: value of pixels that do not count.

        Returns:
            int64 (H,W): word, or K for background.
        """
        num_words = len(masks)
        words = torch.arange(num_words)
        if self.present_only:
            words = torch.unique(truth)
            words = words[words < num_words]
        counted = truth != void
        if not self.background:
            counted &= truth != num_words
        if len(words):
            best, which = (masks[words] if self.present_only else masks).max(dim=0)
            labels = words[which] if self.present_only else which
            if self.background:
                labels = torch.where(best > background, labels, num_words)
        else:
            labels = torch.full_like(truth, num_words)
        if self.background or len(words):
            self.confusion += confusion_of(truth[counted], labels[counted], num_words + 1)
        return labels

    def scored(self, has_background: bool) -> Tensor:
        """Intersection over union of the words, then of the background if the truth has one: (K,) or (K+1,)."""
        iou = iou_of(self.confusion)
        return iou if self.background and has_background else iou[:-1]


__all__ = ["Pointing", "Tally", "confusion_of", "iou_of", "mean_iou", "pixel_accuracy"]
