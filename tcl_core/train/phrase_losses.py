"""The losses of TCL when an image owns several texts, and texts of one image are told apart.

Two things differ from `tcl_core.train.losses`: a text may belong to several images and an image to several texts, so
that a positive pair meets negatives only, never other positives; and texts that say nearly the same are no negatives.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from tcl_core.train.losses import LARGEST_SCALE, AreaPrior, LossWeights, Temperatures
from tcl_core.train.pairing import Pairing

EXCLUDED = -1e9  # exp is 0, and unlike -inf it leaves no NaN in a row without negatives


def _against_negatives(logits: Tensor, negatives: Tensor) -> Tensor:
    """-log(e^l / (e^l + sum of its row's negatives)) for every entry: (R,N), bool (R,N) -> (R,N)."""
    rest = logits.masked_fill(~negatives, EXCLUDED).logsumexp(dim=1, keepdim=True)
    return F.softplus(rest - logits)


def multi_positive_nce(cosines: Tensor, positives: Tensor, negatives: Tensor, log_scale: Tensor) -> Tensor:
    """Contrast images with texts: every positive pair against the negatives of its image, and of its text.

    Args:
        cosines: (B,N), in [-1, 1].
        positives: bool (B,N), one at least.
        negatives: bool (B,N), no positives; what is neither does not count.
        log_scale: scalar, logarithm of what cosines are multiplied by; the product is limited to 100.

    Returns:
        Mean of both directions over all positive pairs; scalar.
    """
    logits = log_scale.exp().clamp(max=LARGEST_SCALE) * cosines
    by_image = _against_negatives(logits, negatives)[positives].mean()
    by_text = _against_negatives(logits.T, negatives.T).T[positives].mean()
    return (by_image + by_text) / 2


def region_nce(region_cosines: Tensor, pairing: Pairing, log_scale: Tensor) -> Tensor:
    """Contrast what each own text's mask gathered with all texts, those of the same image included.

    Args:
        region_cosines: (B,P,N), what the mask of own text p gathered in image i against every text.
        pairing: says which are own, and which are too near to be negatives.
        log_scale: see `multi_positive_nce`.

    Returns:
        Mean over all own texts; scalar.
    """
    own = pairing.own[pairing.is_own]  # (M,)
    logits = log_scale.exp().clamp(max=LARGEST_SCALE) * region_cosines[pairing.is_own]  # (M,N)
    losses = _against_negatives(logits, ~pairing.near[own])
    return losses.gather(1, own[:, None]).mean()


def phrase_areas(areas: Tensor, pairing: Pairing, prior: AreaPrior) -> tuple[Tensor, Tensor]:
    """Compare mean areas (B,N) with the prior: two scalars, for own texts and for negatives (0 if there are none)."""
    positive = (areas[pairing.positives()].mean() - prior.positive).abs()
    others = areas[pairing.negatives()]
    negative = (others.mean() - prior.negative).abs() if len(others) else torch.zeros_like(positive)
    return positive, negative


def compute_phrase_losses(
    parts: Mapping[str, Tensor], weights: LossWeights, temperatures: Temperatures, prior: AreaPrior, pairing: Pairing
) -> dict[str, Tensor]:
    """Compute the terms whose weight is not 0, unweighted, by name.

    Args:
        parts: tensors of a `Summary`, float32.
        weights: only which are 0 matters here.
        temperatures: scales of the contrasts.
        prior: of the area terms.
        pairing: of all images of the batch.
    """
    on: dict[str, Tensor] = {}
    positives, negatives = pairing.positives(), pairing.negatives()
    if weights.tcl_v:
        # An image under one mask shows that thing alone: the image's other texts are negatives too.
        chosen = F.one_hot(pairing.chosen, len(pairing.near)).bool()
        others = ~pairing.near[pairing.chosen]
        on["tcl_v"] = multi_positive_nce(parts["masked_cosines"], chosen, others, temperatures.tcl_v)
    if weights.tcl_f:
        on["tcl_f"] = multi_positive_nce(parts["feature_cosines"], positives, negatives, temperatures.tcl_f)
    if weights.region:
        on["region"] = region_nce(parts["region_cosines"], pairing, temperatures.region)
    if weights.contrastive:
        on["contrastive"] = multi_positive_nce(parts["image_cosines"], positives, negatives, temperatures.contrastive)
    if weights.area:
        on["area_positive"], on["area_negative"] = phrase_areas(parts["areas"], pairing, prior)
    if weights.tv:
        on["tv_embeddings"] = parts["embedding_variation"].mean()
        on["tv_masks"] = parts["mask_variation"].mean()
    return on


__all__ = ["compute_phrase_losses", "multi_positive_nce", "phrase_areas", "region_nce"]
