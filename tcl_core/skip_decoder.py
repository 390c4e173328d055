"""The decoder of `tiny`: refines embeddings from stride 32 to 8 by what earlier stages of the trunk still see."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tcl_core.grounder import ChannelNorm

MIDDLE_FOLD, FINE_FOLD = 2, 4  # stride 16 and stride 8, folded into channels at stride 32


@dataclass(frozen=True)
class Stages:
    """Channels of what the trunk gives, each at its own stride, and how they share one map.

    A feature map is a single tensor everywhere else, so that finer stages are folded: a 2 x 2 or 4 x 4 patch of cells
    becomes channels of one cell at stride 32.

    Attributes:
        embed: C, the projected map, stride 32.
        coarse: last stage, stride 32.
        middle: stride 16.
        fine: stride 8.
    """

    embed: int
    coarse: int
    middle: int
    fine: int

    @property
    def folded(self) -> tuple[int, int, int, int]:
        """Channels of every part of the joined map."""
        return self.embed, self.coarse, self.middle * MIDDLE_FOLD**2, self.fine * FINE_FOLD**2

    @property
    def dim(self) -> int:
        """D, channels of the joined map."""
        return sum(self.folded)

    @staticmethod
    def join(embeddings: Tensor, coarse: Tensor, middle: Tensor, fine: Tensor) -> Tensor:
        """Join: (B,C,h,w), (B,D1,h,w), (B,D2,2h,2w), (B,D3,4h,4w) -> (B,D,h,w)."""
        folded = F.pixel_unshuffle(middle, MIDDLE_FOLD), F.pixel_unshuffle(fine, FINE_FOLD)
        return torch.cat([embeddings, coarse, *folded], dim=1)

    def split(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Undo `join`."""
        embeddings, coarse, middle, fine = features.split(self.folded, dim=1)
        return embeddings, coarse, F.pixel_shuffle(middle, MIDDLE_FOLD), F.pixel_shuffle(fine, FINE_FOLD)


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


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


class SkipDecoder(nn.Module):
    """Refine at stride 32, 16 and 8: joined map (B,D,h,w) -> embeddings (B,C,4h,4w).

    At initialisation it is exactly bilinear upsampling of the projected map, twice by two.

    Args:
        stages: what the joined map holds.
        width: of the bottlenecks at stride 32 and 16; the one at stride 8 has half of it.
    """

    def __init__(self, stages: Stages, width: int) -> None:
        super().__init__()
        self.stages = stages
        embed, half = stages.embed, width // 2
        self.coarse = GatedBottleneck(embed + stages.coarse, width, embed)
        self.middle = GatedBottleneck(embed + stages.middle, width, embed)
        # At stride 8 cells are many: the embeddings are narrowed before they are upsampled.
        self.context = nn.Conv2d(embed, half, kernel_size=1)
        self.fine = GatedBottleneck(half + stages.fine, half, embed)

    def forward(self, features: Tensor) -> Tensor:
        """Refine."""
        embeddings, coarse, middle, fine = self.stages.split(features)
        embeddings = embeddings + self.coarse(torch.cat([embeddings, coarse], dim=1))
        embeddings = _doubled(embeddings)
        embeddings = embeddings + self.middle(torch.cat([embeddings, middle], dim=1))
        context = _doubled(self.context(embeddings))
        refined: Tensor = _doubled(embeddings) + self.fine(torch.cat([context, fine], dim=1))
        return refined


__all__ = ["SkipDecoder", "Stages"]
