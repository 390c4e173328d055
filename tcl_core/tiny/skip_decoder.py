"""The decoder of `tiny`: refines embeddings from stride 32 to 16 by what an earlier stage of the trunk still sees."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tcl_core.grounder import ChannelNorm

FOLD = 2  # stride 16, folded into channels at stride 32


@dataclass(frozen=True)
class Stages:
    """Channels of what the trunk gives, each at its own stride, and how they share one map.

    A feature map is a single tensor everywhere else, so that the finer stage is folded: a 2 x 2 patch of cells becomes
    channels of one cell at stride 32.

    Attributes:
        embed: C, the projected map, stride 32.
        coarse: last stage, stride 32.
        fine: stride 16.
    """

    embed: int
    coarse: int
    fine: int

    @property
    def folded(self) -> tuple[int, int, int]:
        """Channels of every part of the joined map."""
        return self.embed, self.coarse, self.fine * FOLD**2

    @property
    def dim(self) -> int:
        """D, channels of the joined map."""
        return sum(self.folded)

    @staticmethod
    def join(embeddings: Tensor, coarse: Tensor, fine: Tensor) -> Tensor:
        """Join: (B,C,h,w), (B,D1,h,w), (B,D2,2h,2w) -> (B,D,h,w)."""
        return torch.cat([embeddings, coarse, F.pixel_unshuffle(fine, FOLD)], dim=1)

    def split(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Undo `join`."""
        embeddings, coarse, fine = torch.split(features, list(self.folded), dim=1)
        return embeddings, coarse, F.pixel_shuffle(fine, FOLD)


class GatedBottleneck(nn.Module):
    """tanh(gate) * (1x1 -> 5x5 a channel -> 1x1): adds nothing until training opens the gate."""

    def __init__(self, dim_in: int, width: int, dim_out: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(dim_in)
        self.narrow = nn.Conv2d(dim_in, width, kernel_size=1)
        self.spatial = nn.Conv2d(width, width, kernel_size=5, padding=2, groups=width)
        self.widen = nn.Conv2d(width, dim_out, kernel_size=1)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Compute the residual: (B,D,h,w) -> (B,C,h,w)."""
        hidden = F.relu6(self.spatial(F.relu6(self.narrow(self.norm(x)))))
        residual: Tensor = self.gate.tanh() * self.widen(hidden)
        return residual


class SkipDecoder(nn.Module):
    """Refine at stride 32, then at stride 16: joined map (B,D,h,w) -> embeddings (B,C,2h,2w).

    At initialisation it is exactly bilinear upsampling of the projected map.

    Args:
        stages: what the joined map holds.
        width: of the bottlenecks.
    """

    def __init__(self, stages: Stages, width: int) -> None:
        super().__init__()
        self.stages = stages
        self.coarse = GatedBottleneck(stages.embed + stages.coarse, width, stages.embed)
        self.fine = GatedBottleneck(stages.embed + stages.fine, width, stages.embed)

    def forward(self, features: Tensor) -> Tensor:
        """Refine."""
        embeddings, coarse, fine = self.stages.split(features)
        embeddings = embeddings + self.coarse(torch.cat([embeddings, coarse], dim=1))
        embeddings = F.interpolate(embeddings, scale_factor=float(FOLD), mode="bilinear", align_corners=False)
        refined: Tensor = embeddings + self.fine(torch.cat([embeddings, fine], dim=1))
        return refined


__all__ = ["SkipDecoder", "Stages"]
