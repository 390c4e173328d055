"""What a dense image encoder, a text encoder and their preprocessing are to the rest of the package.

Letters in shapes, throughout the package: `B` images, `N` words, `C` joint embedding, `D` features,
`H W` pixels, `h w` feature grid, `L` tokens.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocess:
    """How a uint8 RGB image becomes the encoder's input.

    The one home of these numbers, written into every bundle. A value v in [0, 255] becomes (v / 255 - mean) / std,
    channel by channel.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    size: int  # the side, in pixels, of a square with as many pixels as the encoder should see
    multiple_of: int  # both sides of the input are multiples of this
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    antialias: bool = False


class DenseEncoder(nn.Module, ABC):
    """An image tower that keeps its map: one adapter per family.

    Attributes:
        stride: input pixels per cell of the feature grid.
        dim: D, channels of `features`.
        embed_dim: C, channels of the joint image-text space.
    """

    stride: int
    dim: int
    embed_dim: int

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """Compute the map that enters the grounder: float (B,3,H,W), normalised -> (B,D,h,w)."""

    @abstractmethod
    def project(self, features: Tensor) -> Tensor:
        """Map features into the joint space, cell by cell: (B,D,h,w) -> (B,C,h,w), not normalised."""

    @abstractmethod
    def embed(self, images: Tensor) -> Tensor:
        """Embed whole images with normal attention or pooling: (B,3,H,W) -> (B,C), not normalised."""

    def frozen(self) -> "DenseEncoder":
        """Give an encoder that answers the same but for rounding, faster if there is a way; it may be this one."""
        return self

    def last_layers(self) -> tuple[nn.Module, nn.Module | None]:
        """Copy the layers that a grounder trains: blocks (B,D,h,w) -> (B,D,h,w), projection -> (B,C,h,w).

        Together they compute what `project` does; no projection means that the grounder uses `project`.
        """
        return nn.Identity(), None


class TextEncoder(nn.Module, ABC):
    """A text tower. `context_length` is L, the longest token row; None means any length."""

    embed_dim: int
    context_length: int | None

    @abstractmethod
    def tokenize(self, texts: list[str]) -> Tensor:
        """Turn N texts into int64 tokens (N,L)."""

    @abstractmethod
    def forward(self, tokens: Tensor) -> Tensor:
        """Embed int64 tokens (N,L) as float (N,C), not normalised."""


def normalize(embeddings: Tensor, dim: int) -> Tensor:
    """Scale to unit length along `dim`, with the epsilon of the reference implementation (1e-6)."""
    length: Tensor = embeddings.norm(dim=dim, keepdim=True)
    return embeddings / (length + 1e-6)


def check_multiple(images: Tensor, stride: int) -> None:
    """Refuse images (B,3,H,W) whose sides are not multiples of the stride: the last pixels would be ignored.

    Raises:
        ValueError: they are not.
    """
    if torch.compiler.is_compiling():  # sizes may be symbols while exporting
        return
    height, width = images.shape[-2:]
    if height % stride or width % stride or not height or not width:
        raise ValueError(
            f"an image of {height} x {width} pixels: expected multiples of {stride}; TCL.segment pads images"
        )


__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "DenseEncoder", "Preprocess", "TextEncoder", "check_multiple", "normalize"]
