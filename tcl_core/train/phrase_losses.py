"""The losses of TCL when an image owns several texts, and texts of one image are told apart.

Two things differ from `tcl_core.train.losses`. A text may belong to several images, and an image may own several texts,
so that a positive pair is compared with negatives only, never with other positives. And texts that say nearly the same
are no negatives.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from tcl_core.train.losses import LARGEST_SCALE, AreaPrior
from tcl_core.train.pairing import Pairing

EXCLUDED = -1e9  # exp is 0, and unlike -inf it leaves no NaN in a row without negatives


def _against_negatives(logits: Tensor, negatives: Tensor) -> Tensor:
    """-log(e^l / (e^l + sum of its row's negatives)) for every entry: (R,N), bool (R,N) -> (R,N)."""
    rest = logits.masked_fill(~negatives, EXCLUDED).logsumexp(dim=1, keepdim=True)
    return F.softplus(rest - logits)


def phrase_nce(cosines: Tensor, log_scale: Tensor, pairing: Pairing) -> Tensor:
    """Contrast images with texts: every positive pair against the negatives of its image, and of its text.

    Args:
        cosines: (B,N), in [-1, 1].
        log_scale: scalar, logarithm of the factor that cosines are multiplied by; the factor is limited to 100.
        pairing: says which pairs are positive and which negative; those that are neither do not count.

    Returns:
        Mean of both directions over all positive pairs; scalar.
    """
    positives, negatives = pairing.positives(), pairing.negatives()
    logits = log_scale.exp().clamp(max=LARGEST_SCALE) * cosines
    by_image = _against_negatives(logits, negatives)[positives].mean()
    by_text = _against_negatives(logits.T, negatives.T).T[positives].mean()
    return (by_image + by_text) / 2


def region_nce(region_cosines: Tensor, log_scale: Tensor, pairing: Pairing) -> Tensor:
    """Contrast what each own text's mask gathered with all texts, those of the same image included.

    Args:
        region_cosines: (B,P,N), what the mask of own text p gathered in image i against every text.
        log_scale: see `phrase_nce`.
        pairing: says which texts are own, and which are too near to be negatives.

    Returns:
        Mean over all own texts; scalar.
    """
    own = pairing.own[pairing.is_own]  # (M,)
    logits = log_scale.exp().clamp(max=LARGEST_SCALE) * region_cosines[pairing.is_own]  # (M,N)
    losses = _against_negatives(logits, ~pairing.near[own])
    return losses.gather(1, own[:, None]).mean()


def phrase_areas(areas: Tensor, prior: AreaPrior, pairing: Pairing) -> tuple[Tensor, Tensor]:
    """Compare mean areas (B,N) with the prior: two scalars, for own texts and for negatives (0 if there are none)."""
    positive = (areas[pairing.positives()].mean() - prior.positive).abs()
    others = areas[pairing.negatives()]
    negative = (others.mean() - prior.negative).abs() if len(others) else torch.zeros_like(positive)
    return positive, negative


__all__ = ["phrase_areas", "phrase_nce", "region_nce"]
