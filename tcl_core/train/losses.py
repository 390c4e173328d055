"""The losses of TCL (paper, section 3.3), as pure functions of small tensors.

Three of them contrast images with texts and differ only in what stands for the image: the image itself, the image with
everything but its text's mask blanked (TCL_v), or its features pooled by each text's mask (TCL_f). All three look at a
matrix of cosines, image i against text j. `tcl_core.train.objective.Objective` weights the terms and adds them up.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tcl_core.encoder import normalize
from tcl_core.train.gather import Gather

INITIAL_LOG_SCALE = math.log(1 / 0.07)  # CLIP's
LARGEST_SCALE = 100.0
EPSILON = 1e-6


@dataclass(frozen=True)
class LossWeights:
    """How much each term counts; the paper's values. A term of weight 0 is switched off: it is not even computed.

    Attributes:
        tcl_v: image-level text-grounded contrast.
        tcl_f: feature-level text-grounded contrast.
        area: of both area terms.
        tv: of both total variations.
        contrastive: plain image-text contrast; not part of TCL, for ablations.
        region: contrast of what a phrase's mask gathered with all phrases, including those of the same image; not
            part of TCL, needs captions that are cut into phrases.
    """

    tcl_v: float = 0.1
    tcl_f: float = 0.1
    area: float = 0.4
    tv: float = 1.0
    contrastive: float = 0.0
    region: float = 0.0

    def __post_init__(self) -> None:
        """Refuse weights that train nothing or backwards."""
        values = vars(self)
        if any(not value >= 0 for value in values.values()) or not any(values.values()):
            raise ValueError(f"loss weights {values}: expected numbers of 0 or more, and one above 0 at least")

    @property
    def need_masks(self) -> bool:
        """Whether a mask enters the loss: all terms look at masks but the plain contrast."""
        return any(value for name, value in vars(self).items() if name != "contrastive")


@dataclass(frozen=True)
class AreaPrior:
    """Share of an image that a mask should cover: of its own text, and of another image's text."""

    positive: float = 0.4
    negative: float = 0.0


@dataclass(frozen=True, eq=False)
class Summary:
    """What the losses need to know of B images against N texts: a few numbers a pair instead of maps.

    What no loss asks for is None.

    Attributes:
        feature_cosines: (B,N), of the features pooled by the text's mask with the text.
        masked_cosines: (B,N), of the image under its own text's mask with every text.
        image_cosines: (B,N), of the mean embedding with every text.
        areas: (B,N), mean of the soft mask, in [0, 1].
        mask_variation: (B,), total variation of the masks, mean over texts.
        embedding_variation: (B,), total variation of the embedding map.
        region_cosines: (B,P,N), of what the masks of the image's own P phrases gathered with every text.
    """

    feature_cosines: Tensor | None = None
    masked_cosines: Tensor | None = None
    image_cosines: Tensor | None = None
    areas: Tensor | None = None
    mask_variation: Tensor | None = None
    embedding_variation: Tensor | None = None
    region_cosines: Tensor | None = None

    def tensors(self) -> dict[str, Tensor]:
        """The tensors that are there, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


def cosines(embeddings: Tensor, text_embeddings: Tensor) -> Tensor:
    """Compare images with texts: (B,C), (N,C) -> (B,N) in [-1, 1]."""
    return normalize(embeddings, dim=-1) @ normalize(text_embeddings, dim=-1).T


def pool_by_masks(dense_embeddings: Tensor, masks: Tensor) -> Tensor:
    """Average every image's embeddings under every mask: (B,C,h,w), (B,N,h,w) in [0, 1] -> (B,N,C)."""
    weighted = torch.einsum("bchw,bnhw->bnc", dense_embeddings, masks)
    return weighted / (masks.sum(dim=(2, 3)) + EPSILON)[..., None]


def pooled_cosines(pooled: Tensor, text_embeddings: Tensor) -> Tensor:
    """Compare what each text's mask gathered with that text: (B,N,C), (N,C) -> (B,N) in [-1, 1]."""
    return (normalize(pooled, dim=-1) * normalize(text_embeddings, dim=-1)).sum(dim=-1)


def total_variation(maps: Tensor) -> Tensor:
    """Mean absolute difference of neighbours, along w plus along h: (B,K,h,w), h and w above 1 -> (B,K)."""
    along_w = maps.diff(dim=3).abs().mean(dim=(2, 3))
    along_h = maps.diff(dim=2).abs().mean(dim=(2, 3))
    return along_w + along_h


def mask_images(images: Tensor, masks: Tensor) -> Tensor:
    """Blank what a mask leaves out: normalised (B,3,H,W), (B,h,w) -> (B,3,H,W).

    In normalised images 0 is the mean colour. The mask is resized to the nearest cell.
    """
    return images * F.interpolate(masks[:, None], size=images.shape[-2:], mode="nearest")


def info_nce(image_text_cosines: Tensor, log_scale: Tensor, gather: Gather) -> Tensor:
    """Contrast every image with all texts and every text with all images of the run.

    Args:
        image_text_cosines: (B,N), this process's images against the N texts of all processes, in [-1, 1]. The text of
            image i is number rank * B + i.
        log_scale: scalar, logarithm of the factor that cosines are multiplied by; the factor is limited to 100.
        gather: exchanges the rows.

    Returns:
        Mean of both directions' cross-entropies over this process's images and texts; scalar.

    Raises:
        ValueError: N is not world_size * B.
    """
    num_images, num_texts = image_text_cosines.shape
    if num_texts != gather.world_size * num_images:
        raise ValueError(
            f"{num_images} images on each of {gather.world_size} processes and {num_texts} texts: expected one text "
            "an image"
        )
    positives = torch.arange(num_images, device=image_text_cosines.device) + gather.rank * num_images
    scale = log_scale.exp().clamp(max=LARGEST_SCALE)
    by_text = gather.all(image_text_cosines)[:, positives].T  # (B,N): my texts against the images of the run
    image_to_text = F.cross_entropy(scale * image_text_cosines, positives)
    text_to_image = F.cross_entropy(scale * by_text, positives)
    return (image_to_text + text_to_image) / 2


def area_losses(areas: Tensor, prior: AreaPrior, gather: Gather) -> tuple[Tensor, Tensor]:
    """Compare the mean area of all the run's masks with the prior; images may trade area among each other.

    Args:
        areas: (B,N), this process's images against all texts; the text of image i is number rank * B + i.
        prior: of own texts and of others' texts.
        gather: averages over the processes.

    Returns:
        Two scalars: for the masks of own texts, and for all others (0 if there are none).
    """
    num_images, num_texts = areas.shape
    own = torch.eye(num_texts, dtype=torch.bool, device=areas.device)[gather.rank * num_images :][:num_images]
    positive = (gather.mean(areas[own].mean()) - prior.positive).abs()
    if num_texts == 1:
        return positive, torch.zeros_like(positive)
    return positive, (gather.mean(areas[~own].mean()) - prior.negative).abs()


class Temperatures(nn.Module):
    """The learned scale of each contrast, as its logarithm; one whose term is switched off is frozen."""

    def __init__(self, weights: LossWeights) -> None:
        super().__init__()

        def log_scale(weight: float) -> nn.Parameter:
            return nn.Parameter(torch.tensor(INITIAL_LOG_SCALE), requires_grad=weight > 0)

        self.tcl_v = log_scale(weights.tcl_v)
        self.tcl_f = log_scale(weights.tcl_f)
        self.contrastive = log_scale(weights.contrastive)
        self.region = log_scale(weights.region)


__all__ = [
    "AreaPrior",
    "LossWeights",
    "Summary",
    "Temperatures",
    "area_losses",
    "cosines",
    "info_nce",
    "mask_images",
    "pool_by_masks",
    "pooled_cosines",
    "total_variation",
]
