"""Scores of names -> scores of classes, as SCLIP and its descendants do: a softmax over all names, the largest wins."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tcl_core.prompts import Word, merge_synonyms


def class_probabilities(scores: Tensor, classes: Sequence[Word], scale: float) -> Tensor:
    """Let names compete and give every class its best one.

    Args:
        scores: (M,H,W), one a name, in the order of the classes; cosines.
        classes: N of them; their synonyms are the M names.
        scale: of the cosines.

    Returns:
        (N,H,W) in [0, 1]; they need not sum to 1, since classes of several names keep one.
    """
    return merge_synonyms(torch.softmax(scale * scores, dim=0)[None], list(classes))[0]


def without_small_classes(probabilities: Tensor, share: float) -> Tensor:
    """Give zero to classes that would get too small a part of all that is not background.

    Args:
        probabilities: (N,H,W), the background first.
        share: classes 1 to N - 1 need more than this of the pixels that any of them would get.

    Returns:
        A copy.
    """
    winners = torch.bincount(probabilities.argmax(dim=0).flatten(), minlength=len(probabilities))[1:]
    total = winners.sum()
    kept = probabilities.clone()
    if total:
        kept[1:] *= (winners / total > share)[:, None, None]
    return kept


def just_below(threshold: float) -> float:
    """Turn "at least" into "more than", which is how scores are compared with the background: in float32."""
    return float(torch.nextafter(torch.tensor(threshold), torch.tensor(-math.inf)))


__all__ = ["class_probabilities", "just_below", "without_small_classes"]
