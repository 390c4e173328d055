"""GroupViT's picture tower (Xu et al., 2022, section 3.1): patches that gather into segments, inference only.

Letters beside the package's: `T` learned group tokens of a stage, `G` groups that a stage ends with.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tcl_core.towers.attention import Attention, Block

ASSIGNMENT_EPSILON = 1.0
"""Added to the number of tokens of a group before their values are averaged: an empty group gets nothing."""


@dataclass(frozen=True)
class StageShape:
    """Sizes of one stage.

    Attributes:
        depth: transformer blocks.
        num_tokens: T, group tokens that are learned; 0 for a last stage that groups nothing.
        mixed: width of the layer that mixes tokens before they attend; 0 without tokens.
        previous_tokens: group tokens of the stage before, from which this stage's are made; 0 for none.
        previous_mixed: width of the layer that makes them; 0 for none.
    """

    depth: int
    num_tokens: int
    mixed: int
    previous_tokens: int = 0
    previous_mixed: int = 0


@dataclass(frozen=True)
class VisionShape:
    """Sizes of the tower.

    Attributes:
        dim: D.
        num_heads: divides D.
        patch: side of a patch in pixels.
        grid: side of the square grid, in patches, that positions were learned on.
        hidden: width of the feed-forward layers.
        stages: from pixels to segments.
    """

    dim: int
    num_heads: int
    patch: int
    grid: int
    hidden: int
    stages: tuple[StageShape, ...]


@dataclass(frozen=True, eq=False)
class Grouped:
    """What the tower says of images.

    Attributes:
        segments: (B,G,D), after the last norm.
        assignments: a stage that groups each, soft: (B,G,L) over what entered it, columns sum to 1.
        grid: (h, w) of the patches, L = h * w of the first assignment.
    """

    segments: Tensor
    assignments: tuple[Tensor, ...]
    grid: tuple[int, int]


class FeedForward(nn.Module):
    """Two linear layers with exact GELU between them: (...,D) -> (...,E)."""

    def __init__(self, dim: int, hidden: int, out: int | None = None) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim if out is None else out)

    def forward(self, tokens: Tensor) -> Tensor:
        """Apply them."""
        fed: Tensor = self.fc2(F.gelu(self.fc1(tokens)))
        return fed

    def across(self, tokens: Tensor) -> Tensor:
        """Mix the tokens of every channel instead of the channels of every token: (B,T,D) -> (B,E,D)."""
        return self.forward(tokens.transpose(1, 2)).transpose(1, 2)


class CrossAttention(nn.Module):
    """Group tokens look at patches, then think: (B,T,D), (B,L,D) -> (B,T,D). Nothing is normalised on the way in."""

    def __init__(self, dim: int, num_heads: int, hidden: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))
        self.out = nn.Linear(dim, dim)
        self.norm_mlp = nn.LayerNorm(dim)
        self.mlp = FeedForward(dim, hidden)
        self.norm_out = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor, patches: Tensor) -> Tensor:
        """Look."""
        query, key, value = (
            projected.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for projected in (self.query(tokens), self.key(patches), self.value(patches))
        )
        seen = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        tokens = tokens + self.out(seen)
        thought: Tensor = self.norm_out(tokens + self.mlp(self.norm_mlp(tokens)))
        return thought


class Assignment(nn.Module):
    """Every patch goes to the one group that resembles it most; a group becomes the mean of its patches' values.

    Training draws Gumbel noise and lets the gradient of the soft assignment through the hard one. Without training
    there is neither: the noise is off, and the value of "hard + soft - stopped soft" is the hard one.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))
        self.out = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Assign: (B,G,D), (B,L,D) -> what groups receive (B,G,D), soft assignment (B,G,L)."""
        logits = self.query(tokens) @ self.key(patches).transpose(1, 2) * tokens.shape[-1] ** -0.5
        received: Tensor = self.out(group_mean(hard_assignment(logits), self.value(patches)))
        return received, logits.softmax(dim=1)


def hard_assignment(logits: Tensor) -> Tensor:
    """Give every patch to the first of its best groups: (B,G,L) -> zeros and ones (B,G,L), a single one a column."""
    return torch.zeros_like(logits).scatter_(1, logits.argmax(dim=1, keepdim=True), 1)


def group_mean(assignment: Tensor, values: Tensor) -> Tensor:
    """Average what is assigned to each group, nearly: (B,G,L), (B,L,D) -> sum / (number + 1), (B,G,D)."""
    return assignment / (assignment.sum(dim=2, keepdim=True) + ASSIGNMENT_EPSILON) @ values


class Grouping(nn.Module):
    """End of a stage: its tokens become as many groups of its patches."""

    def __init__(self, shape: VisionShape, stage: StageShape) -> None:
        super().__init__()
        self.norm_tokens = nn.LayerNorm(shape.dim)
        self.norm_patches = nn.LayerNorm(shape.dim)
        self.mix = FeedForward(stage.num_tokens, stage.mixed)
        self.norm_mixed = nn.LayerNorm(shape.dim)
        self.look = CrossAttention(shape.dim, shape.num_heads, shape.hidden)
        self.assign = Assignment(shape.dim)
        self.norm_groups = nn.LayerNorm(shape.dim)
        self.mlp = FeedForward(shape.dim, shape.hidden)

    def forward(self, tokens: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Group: (B,G,D), (B,L,D) -> groups (B,G,D), soft assignment (B,G,L)."""
        patches = self.norm_patches(patches)
        tokens = self.look(self.norm_mixed(self.mix.across(self.norm_tokens(tokens))), patches)
        received, assignment = self.assign(tokens, patches)
        groups = tokens + received
        return groups + self.mlp(self.norm_groups(groups)), assignment


class TokenMaker(nn.Module):
    """Group tokens of the stage before -> what is added to those of this stage: (B,T',D) -> (B,T,D)."""

    def __init__(self, dim: int, stage: StageShape) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.mix = FeedForward(stage.previous_tokens, stage.previous_mixed, stage.num_tokens)

    def forward(self, tokens: Tensor) -> Tensor:
        """Make them."""
        return self.mix.across(self.norm(tokens))


class Stage(nn.Module):
    """Blocks over patches and group tokens together, then a grouping, if there are tokens."""

    def __init__(self, shape: VisionShape, stage: StageShape) -> None:
        super().__init__()
        self.num_tokens = stage.num_tokens
        self.blocks = nn.ModuleList(_block(shape) for _ in range(stage.depth))
        self.tokens = nn.Parameter(torch.zeros(1, stage.num_tokens, shape.dim)) if stage.num_tokens else None
        self.grouping = Grouping(shape, stage) if stage.num_tokens else None
        self.token_maker = TokenMaker(shape.dim, stage) if stage.previous_tokens else None

    def forward(self, patches: Tensor, previous: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Run the stage.

        Args:
            patches: (B,L,D).
            previous: group tokens (B,T',D) of the stage before, as they left its blocks.

        Returns:
            Groups (B,G,D), this stage's tokens (B,T,D), soft assignment (B,G,L). Without tokens patches (B,L,D), None,
            None.
        """
        if self.tokens is None or self.grouping is None:
            return self._attended(patches), None, None
        tokens = self.tokens.expand(patches.shape[0], -1, -1)
        if self.token_maker is not None and previous is not None:
            tokens = tokens + self.token_maker(previous)
        both = self._attended(torch.cat([patches, tokens], dim=1))
        patches, tokens = both[:, : -self.num_tokens], both[:, -self.num_tokens :]
        groups, assignment = self.grouping(tokens, patches)
        return groups, tokens, assignment

    def _attended(self, tokens: Tensor) -> Tensor:
        for block in self.blocks:
            tokens = block(tokens)
        return tokens


def _block(shape: VisionShape) -> Block:
    qkv, out = nn.Linear(shape.dim, 3 * shape.dim), nn.Linear(shape.dim, shape.dim)
    attention = Attention(qkv, out, shape.num_heads)
    return Block(nn.LayerNorm(shape.dim), attention, nn.LayerNorm(shape.dim), FeedForward(shape.dim, shape.hidden))


class GroupVitVision(nn.Module):
    """Images -> segments and which patches are in them."""

    def __init__(self, shape: VisionShape) -> None:
        super().__init__()
        self.shape = shape
        self.patch = nn.Conv2d(3, shape.dim, kernel_size=shape.patch, stride=shape.patch)
        self.patch_norm = nn.LayerNorm(shape.dim)
        self.position = nn.Parameter(torch.zeros(1, shape.grid**2, shape.dim))
        self.stages = nn.ModuleList(Stage(shape, stage) for stage in shape.stages)
        self.norm = nn.LayerNorm(shape.dim)

    def forward(self, images: Tensor) -> Grouped:
        """Group normalised images (B,3,H,W) of any size from one patch on; pixels beyond the last patch are not seen.

        Raises:
            ValueError: no images of three channels, or smaller than a patch.
        """
        if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < self.shape.patch:
            raise ValueError(
                f"images of shape {tuple(images.shape)}: expected (B,3,H,W), sides of {self.shape.patch} pixels or more"
            )
        cells = self.patch(images)
        grid = (cells.shape[2], cells.shape[3])
        tokens: Tensor = self.patch_norm(cells.flatten(2).transpose(1, 2)) + self.position_on(grid)
        group_tokens, assignments = None, []
        for stage in self.stages:
            tokens, group_tokens, assignment = stage(tokens, group_tokens)
            if assignment is not None:
                assignments.append(assignment)
        return Grouped(self.norm(tokens), tuple(assignments), grid)

    def position_on(self, grid: tuple[int, int]) -> Tensor:
        """Resize the position embedding, bicubic, to a grid (h, w) other than its own: (1,h*w,D)."""
        side = self.shape.grid
        if grid == (side, side):
            return self.position
        square = self.position.transpose(1, 2).reshape(1, -1, side, side)
        return F.interpolate(square, grid, mode="bicubic", align_corners=False).flatten(2).transpose(1, 2)
