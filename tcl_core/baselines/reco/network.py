"""ReCo on windows: the row of the table."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tcl_core.baselines.reco.co_segmentation import scores
from tcl_core.baselines.reco.features import PatchFeatures
from tcl_core.encoder import IMAGENET_MEAN, IMAGENET_STD, DenseEncoder, Preprocess

WINDOW_SIZE = 448


class Encoders(nn.Module):
    """The two networks that see pictures, in evaluation mode; both take ImageNet's statistics.

    Args:
        features: the self-supervised encoder F, DeiT-S/16 (SIN).
        dense: the dense CLIP D, RN50x16.

    Attributes:
        preprocess: how a picture enters.
    """

    def __init__(self, features: PatchFeatures, dense: DenseEncoder) -> None:
        super().__init__()
        self.features = features
        self.dense = dense
        self.preprocess = Preprocess(
            IMAGENET_MEAN, IMAGENET_STD, WINDOW_SIZE, multiple_of=math.lcm(features.stride, dense.stride)
        )

    @torch.inference_mode()
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encode images (B,3,H,W), sides multiples of both strides: features (B,D,h,w) and dense (B,C,h',w')."""
        return self.features(images), self.dense.project(self.dense.features(images))


class ReCo(nn.Module):
    """Windows -> scores of classes.

    Args:
        encoders: see there.
        references: of the classes (K,D).
        text: unit embeddings of the classes by the dense CLIP (K,C); None leaves it out of the scores.
        made_of: what references and text depend on, for `settings`.

    Attributes:
        preprocess: how a picture enters.
        settings: all that the scores depend on beside pictures, names and windows; plain values, for a report.
    """

    references: Tensor
    text: Tensor | None

    def __init__(
        self, encoders: Encoders, references: Tensor, text: Tensor | None, made_of: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        if references.ndim != 2 or references.shape[1] != encoders.features.dim:
            raise ValueError(
                f"references of shape {tuple(references.shape)}: expected (K,{encoders.features.dim}), as the encoder "
                "has channels; were they made by another encoder?"
            )
        if text is not None and text.shape != (len(references), encoders.dense.embed_dim):
            raise ValueError(
                f"text of shape {tuple(text.shape)}: expected ({len(references)},{encoders.dense.embed_dim})"
            )
        self.encoders = encoders
        self.register_buffer("references", references)
        self.register_buffer("text", text)
        self.preprocess = encoders.preprocess
        self.settings: dict[str, Any] = {**(made_of or {}), "text_in_scores": text is not None}

    @torch.inference_mode()
    def forward(self, images: Tensor) -> Tensor:
        """Score the pixels of windows.

        Args:
            images: float (B,3,H,W), normalised; a side that is no multiple of both strides ends in zeros.

        Returns:
            (B,K,H,W) in [0, 1]; the score of a class does not depend on which others there are.
        """
        height, width = images.shape[-2:]
        multiple = self.preprocess.multiple_of
        padded = F.pad(images, (0, -width % multiple, 0, -height % multiple))
        features, dense = self.encoders(padded)
        if self.text is None:
            dense = None
        size = (padded.shape[2], padded.shape[3])
        return scores(features, self.references, dense, self.text, size)[..., :height, :width]


__all__ = ["Encoders", "ReCo"]
