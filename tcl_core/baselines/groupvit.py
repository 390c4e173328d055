"""GroupViT: Semantic Segmentation Emerges from Text Supervision (Xu et al., 2022), for inference.

Written from the paper and from measurements; checked against recorded outputs of the authors' code and against Hugging
Face's port.
"""

from dataclasses import dataclass
from typing import Any

import open_clip
import torch
from open_clip.transformer import QuickGELU, TextTransformer
from torch import Tensor, nn

from tcl_core.baselines.groupvit_vision import Grouped, GroupVitVision, VisionShape
from tcl_core.encoder import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from tcl_core.towers.clip_text import ClipTextEncoder

MAX_SCALE = 100.0
"""Of the logits: what `exp(logit_scale)` is limited to."""

PREPROCESS = Preprocess(IMAGENET_MEAN, IMAGENET_STD, size=448, multiple_of=1)
"""Of the evaluation: windows of 448 pixels, though the tower was trained on 224."""


@dataclass(frozen=True)
class TextShape:
    """Sizes of the text tower.

    Attributes:
        context_length: L.
        vocabulary: tokens known.
        dim: D of this tower.
        num_heads: divides D.
        depth: transformer blocks.
    """

    context_length: int
    vocabulary: int
    dim: int
    num_heads: int
    depth: int


@dataclass(frozen=True)
class GroupVitShape:
    """Sizes of the model.

    Attributes:
        vision: of the picture tower.
        text: of the text tower.
        hidden: width of both projectors' hidden layers.
        embed_dim: C, of the joint space.
    """

    vision: VisionShape
    text: TextShape
    hidden: int
    embed_dim: int


class Projector(nn.Module):
    """Into the joint space: linear, batch norm with its running statistics, ReLU, linear: (...,D) -> (...,C)."""

    def __init__(self, dim: int, hidden: int, embed_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.norm = nn.BatchNorm1d(hidden)
        self.fc2 = nn.Linear(hidden, embed_dim)

    def forward(self, features: Tensor) -> Tensor:
        """Project."""
        hidden = self.norm(self.fc1(features.flatten(0, -2))).relu()
        projected: Tensor = self.fc2(hidden).unflatten(0, features.shape[:-1])
        return projected


class GroupVitText(ClipTextEncoder):
    """CLIP's text transformer with QuickGELU, read at the largest token number, then a projector."""

    def __init__(self, shape: TextShape, hidden: int, embed_dim: int, tokenizer: Any) -> None:
        tower = TextTransformer(
            shape.context_length,
            shape.vocabulary,
            shape.dim,
            shape.num_heads,
            shape.depth,
            output_dim=shape.dim,
            act_layer=QuickGELU,
        )
        tower.text_projection = None
        super().__init__(tower, tokenizer)
        self.projection = Projector(shape.dim, hidden, embed_dim)
        self.embed_dim = embed_dim


@dataclass(frozen=True, eq=False)
class Embedded:
    """What the model says of images, in the joint space, not normalised.

    Attributes:
        segments: (B,G,C).
        images: (B,C), of the mean of the segments before the projector.
        grouped: which patches are in which segment.
    """

    segments: Tensor
    images: Tensor
    grouped: Grouped


class GroupVit(nn.Module):
    """Both towers and their projectors.

    Args:
        shape: sizes.
        tokenizer: open_clip's; None for CLIP's own.
    """

    def __init__(self, shape: GroupVitShape, tokenizer: Any = None) -> None:
        super().__init__()
        self.shape = shape
        self.vision = GroupVitVision(shape.vision)
        self.image_projector = Projector(shape.vision.dim, shape.hidden, shape.embed_dim)
        self.text = GroupVitText(shape.text, shape.hidden, shape.embed_dim, tokenizer or open_clip.SimpleTokenizer())
        self.logit_scale = nn.Parameter(torch.zeros(()))
        self.eval()

    @property
    def scale(self) -> Tensor:
        """Factor of cosines in logits, a scalar of at most 100."""
        return self.logit_scale.exp().clamp(max=MAX_SCALE)

    def forward(self, images: Tensor) -> Embedded:
        """Embed normalised images (B,3,H,W); see `GroupVitVision.forward`."""
        grouped = self.vision(images)
        segments = self.image_projector(grouped.segments)
        return Embedded(segments, self.image_projector(grouped.segments.mean(dim=1)), grouped)

    def train(self, mode: bool = True) -> "GroupVit":
        """Stay in evaluation mode, which is all that this model is for.

        Raises:
            ValueError: asked for training mode.
        """
        if mode:
            raise ValueError("this GroupViT is for inference: it has no Gumbel noise, drop path or synchronised norms")
        return super().train(False)
