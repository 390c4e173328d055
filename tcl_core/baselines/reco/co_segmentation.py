"""What ReCo computes (Shin, Xie, Albanie: Retrieve and Co-segment for Zero-shot Transfer, NeurIPS 2022), as functions.

Beside the package's letters: `k` retrieved pictures, `F` maps of the self-supervised encoder (k,D,h,w), `D` maps of the
dense CLIP (k,C,h',w'), `R` references. Every class is computed by itself, so that none depends on which others there
are, to the last bit.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from tcl_core.errors import ConfigError
from tcl_core.segment import resize

ATTENTION_SCALE = 10.0
"""Temperature of the attention by text."""

Blocks = Literal["released", "described"]
Summary = Literal["mean", "winner", "weighted"]


def retrieve(embeddings: Tensor, text: Tensor, count: int) -> Tensor:
    """Find the pictures that are most like a text (section 3.2).

    Args:
        embeddings: unit, of all pictures of the archive, (M,C).
        text: unit, (C,).
        count: k.

    Returns:
        int64 (k,): indices by falling inner product; of equals the first.

    Raises:
        ConfigError: the archive has fewer than k pictures.
    """
    if len(embeddings) < count:
        raise ConfigError(f"an archive of {len(embeddings)} pictures: expected {count} or more to retrieve")
    return torch.sort(embeddings @ text, descending=True, stable=True).indices[:count]


def likeness(maps: Tensor, vectors: Tensor, scale: float = 1.0) -> Tensor:
    """How like a vector every cell is, sigmoid(scale cosine): (B,D,h,w), (N,D) -> (B,N,h,w) in [0, 1].

    A vector at a time: the last bit of a product or an exponential may depend on what is computed beside it.
    """
    cells = F.normalize(maps, dim=1).permute(0, 2, 3, 1)  # (B,h,w,D)
    unit = F.normalize(vectors, dim=1)
    return torch.stack([torch.sigmoid(scale * (cells @ vector)) for vector in unit], dim=1)


def text_attention(dense: Tensor, text: Tensor, size: tuple[int, int]) -> Tensor:
    """Where the dense CLIP sees a text: sigmoid(10 cosine), then bilinear (section 3.3, language-guided).

    Args:
        dense: (B,C,h',w'), not normalised.
        text: (N,C).
        size: (height, width) of the result.

    Returns:
        (B,N,height,width) in [0, 1].
    """
    return resize(likeness(dense, text, ATTENTION_SCALE), size)


def context_presence(features: Tensor, references: Tensor) -> Tensor:
    """Where context is seen: sigmoid(cosine), without a temperature, so within [0.27, 0.73].

    Args:
        features: (B,D,h,w), not normalised.
        references: (R,D).

    Returns:
        (B,R,h,w).
    """
    return likeness(features, references)


def weights(attention: Tensor | None, presence: Tensor | None) -> Tensor | None:
    """Attention by text times Π over context of (1 - presence) (section 3.3, context elimination).

    Args:
        attention: (k,h,w), or None without.
        presence: (k,R,h,w), or None without.

    Returns:
        (k,h,w), or None for a weight of 1 everywhere.
    """
    if presence is None:
        return attention
    rest = (1 - presence).prod(dim=1)
    return rest if attention is None else attention * rest


def nearest_in_pictures(features: Tensor, weight: Tensor | None) -> Tensor:
    """How near the nearest cell of every picture is to every cell: max over q of cos(F(p), F(q)) weight(q).

    Only the other cell is weighted. A picture at a time, so that memory grows with k and not with its square: for 50
    pictures of 14 x 14 cells 8 MB instead of 384.

    Args:
        features: (k,D,h,w), not normalised.
        weight: (k,h,w), or None for 1.

    Returns:
        (k,h*w,k): cell by picture.
    """
    unit = F.normalize(features, dim=1).flatten(2).transpose(1, 2)  # (k,h*w,D)
    pictures, cells, dim = unit.shape
    every = unit.reshape(pictures * cells, dim)
    if weight is not None:  # scaling q scales its cosine
        every = every * weight.reshape(-1, 1)
    # Allocated once: small results between large ones that are freed would leave a hole a picture in the heap.
    cosines = unit.new_empty(cells, pictures * cells)
    nearest = unit.new_empty(pictures, cells, pictures)
    for own, row in zip(unit, nearest, strict=True):
        torch.mm(own, every.T, out=cosines)
        torch.amax(cosines.view(cells, pictures, cells), dim=2, out=row)
    return nearest


def in_blocks(nearest: Tensor, blocks: Blocks) -> Tensor:
    """Turn pictures into the blocks over which the maximum is taken.

    Args:
        nearest: of `nearest_in_pictures`, (k,h*w,k).
        blocks: "described" is the method, block b is picture b; in the "released" code the end of a slice is offset
            twice, so block b is pictures b to 2b, as far as there are any. The published references were presumably
            made so.

    Returns:
        (k,h*w,k).
    """
    if blocks == "described":
        return nearest
    if blocks != "released":
        raise ConfigError(f"no rule {blocks!r} of blocks: expected released or described")
    return torch.stack([nearest[..., b : 2 * b + 1].amax(dim=-1) for b in range(nearest.shape[-1])], dim=-1)


@dataclass(frozen=True, eq=False)
class CoSegmentation:
    """What pictures of a class have in common.

    Attributes:
        support: (k,h,w), mean over blocks of the nearest cell's similarity.
        seed_yx: int64 (k,2), the cell of every picture with the largest support.
        seed_features: (k,D) there, not normalised.
        reference: (D,), unit, of the class.
    """

    support: Tensor
    seed_yx: Tensor
    seed_features: Tensor
    reference: Tensor


def summarise(seeds: Tensor, summary: Summary) -> Tensor:
    """Make one reference of the seeds of all pictures.

    Args:
        seeds: not normalised, in the order in which their pictures were retrieved, (k,D).
        summary: "mean" is the method; the released code has two more: "winner", the seed with the largest sum of
            cosines with all, and "weighted", the mean with weights k, k - 1, ..., 1.

    Returns:
        (D,), unit.
    """
    if summary == "mean":
        return F.normalize(seeds.mean(dim=0), dim=0)
    if summary == "weighted":
        rank = torch.arange(len(seeds), 0, -1, dtype=seeds.dtype, device=seeds.device)
        return F.normalize(rank @ seeds, dim=0)
    if summary != "winner":
        raise ConfigError(f"no summary {summary!r} of seeds: expected mean, winner or weighted")
    unit = F.normalize(seeds, dim=1)
    return unit[(unit @ unit.T).sum(dim=1).argmax()]


def co_segment(
    features: Tensor, weight: Tensor | None, blocks: Blocks = "released", summary: Summary = "mean"
) -> CoSegmentation:
    """Find what retrieved pictures have in common (section 3.3).

    Args:
        features: (k,D,h,w), not normalised.
        weight: (k,h,w), or None for 1.
        blocks: see `in_blocks`.
        summary: see `summarise`.
    """
    pictures, dim, height, width = features.shape
    support = in_blocks(nearest_in_pictures(features, weight), blocks).mean(dim=2)
    best = support.argmax(dim=1)
    seeds = features.flatten(2).gather(2, best[:, None, None].expand(-1, dim, 1))[:, :, 0]
    return CoSegmentation(
        support=support.reshape(pictures, height, width),
        seed_yx=torch.stack([best // width, best % width], dim=1),
        seed_features=seeds,
        reference=summarise(seeds, summary),
    )


def scores(
    features: Tensor, references: Tensor, dense: Tensor | None, text: Tensor | None, size: tuple[int, int]
) -> Tensor:
    """Score the classes of a picture (section 3.4): up(sigmoid(cos(F, reference))) up(sigmoid(10 cos(D, text))).

    Args:
        features: (B,D,h,w), not normalised.
        references: (K,D).
        dense: (B,C,h',w'), or None to leave the second factor out.
        text: (K,C), or None with `dense`.
        size: (height, width) of the picture.

    Returns:
        (B,K,height,width) in [0, 1].
    """
    similar = resize(likeness(features, references), size)
    if dense is None or text is None:
        return similar
    return similar * text_attention(dense, text, size)


__all__ = [
    "Blocks",
    "CoSegmentation",
    "Summary",
    "co_segment",
    "context_presence",
    "in_blocks",
    "likeness",
    "nearest_in_pictures",
    "retrieve",
    "scores",
    "summarise",
    "text_attention",
    "weights",
]
