"""Vision transformers of CLIP, OpenCLIP and SigLIP as dense encoders."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tcl_core.encoder import DenseEncoder, check_multiple
from tcl_core.towers.attention import Block, Cellwise, ValueBlock, cellwise
from tcl_core.towers.heads import Grid, LastBlockRule


class PatchStem(nn.Module):
    """Images -> tokens: patches with their positions, after the prefix tokens.

    Args:
        patchify: (B,3,H,W) -> (B,D,h,w).
        grid_position: (1,D,h0,w0), resized bicubically to other grids.
        prefix: (1,P,D) class and register tokens with their positions; P may be 0.
        norm: before the first block.
        stride: H / h.
    """

    def __init__(
        self, patchify: nn.Module, grid_position: Tensor, prefix: Tensor, norm: nn.Module, stride: int
    ) -> None:
        super().__init__()
        self.patchify = patchify
        self.grid_position = nn.Parameter(grid_position.detach().clone())
        self.prefix = nn.Parameter(prefix.detach().clone())
        self.norm = norm
        self.stride = stride
        self.native_grid: Grid = (grid_position.shape[2], grid_position.shape[3])

    @property
    def num_prefix(self) -> int:
        """P."""
        return self.prefix.shape[1]

    def position(self, grid: Grid) -> Tensor:
        """Positions of a grid: (1,D,h,w). At the native size the resize is the identity, so it is left out."""
        # A symbolic size, while exporting with dynamic height and width, is no int and always resizes.
        if all(isinstance(side, int) for side in grid) and grid == self.native_grid:
            return self.grid_position
        return F.interpolate(self.grid_position, size=grid, mode="bicubic", align_corners=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Grid]:
        """Make tokens (B,P+h*w,D) and tell their grid (h, w)."""
        patches = self.patchify(images)
        grid = (patches.shape[2], patches.shape[3])
        tokens = (patches + self.position(grid)).flatten(2).transpose(1, 2)  # (B,h*w,D)
        prefix = self.prefix.expand(tokens.shape[0], -1, -1)
        return self.norm(torch.cat([prefix, tokens], dim=1)), grid


class ClassTokenReadout(nn.Module):
    """Normalise, project; the image is its class token (CLIP)."""

    def __init__(self, norm: nn.Module, projection: nn.Module, embed_dim: int) -> None:
        super().__init__()
        self.norm = norm
        self.projection = projection
        self.embed_dim = embed_dim

    def cells(self, cells: Tensor) -> Tensor:
        """Read every cell: (...,D) -> (...,C)."""
        read: Tensor = self.projection(self.norm(cells))
        return read

    def forward(self, tokens: Tensor) -> Tensor:
        """Read the image: (B,L,D) -> (B,C)."""
        return self.cells(tokens[:, 0])


class MeanReadout(nn.Module):
    """Normalise before or after averaging the patches, then project."""

    def __init__(
        self,
        norm_before: nn.Module,
        norm_after: nn.Module,
        projection: nn.Module,
        embed_dim: int,
        num_prefix: int,
    ) -> None:
        super().__init__()
        self.norm_before = norm_before
        self.norm_after = norm_after
        self.projection = projection
        self.embed_dim = embed_dim
        self.num_prefix = num_prefix

    def cells(self, cells: Tensor) -> Tensor:
        """Read every cell: (...,D) -> (...,C)."""
        read: Tensor = self.projection(self.norm_after(self.norm_before(cells)))
        return read

    def forward(self, tokens: Tensor) -> Tensor:
        """Read the image: (B,L,D) -> (B,C)."""
        mean = self.norm_before(tokens[:, self.num_prefix :]).mean(dim=1)
        read: Tensor = self.projection(self.norm_after(mean))
        return read


class LatentReadout(nn.Module):
    """A learned query gathers the normalised tokens (SigLIP's attention pool, timm's `AttentionPoolLatent`)."""

    pool: Any  # timm is untyped

    def __init__(self, norm: nn.Module, pool: Any, projection: nn.Module, embed_dim: int) -> None:
        super().__init__()
        self.norm = norm
        self.pool = pool
        self.projection = projection
        self.embed_dim = embed_dim

    def cells(self, cells: Tensor) -> Tensor:
        """Read every cell: (...,D) -> (...,C).

        The pool over a single token is its value path, whatever the query.
        """
        pool = self.pool
        dim = pool.kv.in_features
        bias = None if pool.kv.bias is None else pool.kv.bias[dim:]
        cells = pool.proj(F.linear(self.norm(cells), pool.kv.weight[dim:], bias))
        read: Tensor = self.projection(cells + pool.mlp(pool.norm(cells)))
        return read

    def forward(self, tokens: Tensor) -> Tensor:
        """Read the image: (B,L,D) -> (B,C)."""
        read: Tensor = self.projection(self.pool(self.norm(tokens)))
        return read


Readout = ClassTokenReadout | MeanReadout | LatentReadout


class CellReadout(nn.Module):
    """The part of a readout that reads cells, as a module of its own: (...,D) -> (...,C)."""

    def __init__(self, readout: Readout) -> None:
        super().__init__()
        self.readout = deepcopy(readout)
        if isinstance(self.readout, LatentReadout):
            # Cells are read without the query: it would be a parameter that never gets a gradient.
            self.readout.pool.latent.requires_grad_(False)
            self.readout.pool.q.requires_grad_(False)

    def forward(self, cells: Tensor) -> Tensor:
        """Read."""
        return self.readout.cells(cells)


def map_of(tokens: Tensor, num_prefix: int, grid: Grid) -> Tensor:
    """Lay the patches out, without the prefix: (B,P+h*w,D) -> (B,D,h,w)."""
    patches = tokens[:, num_prefix:].transpose(1, 2)
    return patches.reshape(*patches.shape[:2], *grid)


def map_with_prefix(tokens: Tensor, num_prefix: int, grid: Grid) -> Tensor:
    """Lay the patches out and give every cell the prefix as further channels: (B,P+h*w,D) -> (B,(1+P)*D,h,w).

    So what is computed later may attend to the prefix, and features stay a map.
    """
    prefix = tokens[:, :num_prefix].flatten(1)[:, :, None, None]  # (B,P*D,1,1)
    return torch.cat([map_of(tokens, num_prefix, grid), prefix.expand(-1, -1, *grid)], dim=1)


def tokens_of(features: Tensor, num_prefix: int) -> tuple[Tensor, Grid]:
    """Undo `map_with_prefix`: (B,(1+P)*D,h,w) -> (B,P+h*w,D) and the grid (h, w)."""
    grid = (features.shape[2], features.shape[3])
    dim = features.shape[1] // (1 + num_prefix)
    prefix = features[:, dim:, 0, 0].reshape(features.shape[0], num_prefix, dim)
    return torch.cat([prefix, features[:, :dim].flatten(2).transpose(1, 2)], dim=1), grid


class LateBlocks(nn.Module):
    """Copies of a tower's last blocks, for a grounder: (B,(1+P)*D,h,w) from `map_with_prefix` -> (B,D,h,w).

    The very last runs its value path; those before it attend as they do in the tower.
    """

    def __init__(self, blocks: Sequence[Block], final_block: Block, num_prefix: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(deepcopy(block) for block in blocks)
        self.final_block = ValueBlock(final_block)
        self.num_prefix = num_prefix

    def forward(self, features: Tensor) -> Tensor:
        """Run the blocks."""
        tokens, grid = tokens_of(features, self.num_prefix)
        for block in self.blocks:
            tokens = block(tokens)
        return cellwise(self.final_block, map_of(tokens, self.num_prefix, grid))


class ViTEncoder(DenseEncoder):
    """A vision transformer whose map is kept.

    With no rule, `features` stops before the last block and `project` runs that block's value path, cell by cell, then
    the readout: this is MaskCLIP, and what TCL's grounder starts from. With a rule, `features` runs all blocks, the
    last by the rule, and `project` is the readout alone.

    Args:
        stem: images -> tokens.
        blocks: all of them.
        readout: tokens -> joint space.
        last_block: rule of a training-free head, see `tcl_core.towers.heads`.
        num_late: blocks at the end that belong to `project`, and that a grounder copies; 1 in the paper. With more,
            `features` carry the prefix tokens as further channels.

    Raises:
        ValueError: fewer than one late block, no block before them, or several with a rule.
    """

    def __init__(
        self,
        stem: PatchStem,
        blocks: list[Block],
        readout: Readout,
        last_block: LastBlockRule | None = None,
        num_late: int = 1,
    ) -> None:
        super().__init__()
        if not 1 <= num_late < len(blocks):
            raise ValueError(f"{num_late} late blocks of {len(blocks)}: expected 1 to {len(blocks) - 1}")
        if num_late > 1 and last_block is not None:
            raise ValueError("a rule for the last block and several late blocks: expected one or the other")
        self.stem = stem
        self.blocks = nn.ModuleList(blocks[:-1])
        self.final_block = blocks[-1]
        self.readout = readout
        self.last_block = last_block
        self.num_late = num_late
        self.stride = stem.stride
        self.dim = stem.grid_position.shape[1]
        self.embed_dim = readout.embed_dim

    def with_late_blocks(self, num_late: int) -> "ViTEncoder":
        """Make an encoder of the same modules that stops earlier, for a grounder that owns more blocks."""
        return ViTEncoder(self.stem, [*self._attending(0), self.final_block], self.readout, self.last_block, num_late)

    def _attending(self, start: int, stop: int | None = None) -> list[Block]:
        return cast(list[Block], list(self.blocks)[start:stop])

    def _before_late_blocks(self, images: Tensor) -> tuple[Tensor, Grid]:
        check_multiple(images, self.stride)
        tokens: Tensor
        tokens, grid = self.stem(images)
        for block in self._attending(0, self._first_late):
            tokens = block(tokens)
        return tokens, grid

    @property
    def _first_late(self) -> int:
        return len(self.blocks) + 1 - self.num_late

    def features(self, images: Tensor) -> Tensor:
        """Compute the map that enters the grounder: (B,3,H,W), sides multiples of the stride -> (B,D,h,w).

        With several late blocks (B,(1+P)*D,h,w), see `map_with_prefix`.
        """
        tokens, grid = self._before_late_blocks(images)
        if self.last_block is not None:
            tokens = self.last_block(self.final_block, tokens, grid)
        lay_out = map_of if self.num_late == 1 else map_with_prefix
        return lay_out(tokens, self.stem.num_prefix, grid)

    def project(self, features: Tensor) -> Tensor:
        """Map features into the joint space: what `features` gives -> (B,C,h,w), not normalised."""
        if self.num_late > 1:
            tokens, grid = tokens_of(features, self.stem.num_prefix)
            for block in self._attending(self._first_late):
                tokens = block(tokens)
            features = map_of(tokens, self.stem.num_prefix, grid)
        if self.last_block is None:
            features = cellwise(self.final_block.value_path, features)
        return cellwise(self.readout.cells, features)

    def embed(self, images: Tensor) -> Tensor:
        """Embed whole images with the tower's normal attention: (B,3,H,W) -> (B,C), not normalised."""
        tokens, _ = self._before_late_blocks(images)
        for block in self._attending(self._first_late):
            tokens = block(tokens)
        embeddings: Tensor = self.readout(self.final_block(tokens))
        return embeddings

    def last_layers(self) -> tuple[nn.Module, nn.Module | None]:
        """Copy the late blocks, of the last one the value path, and the readout; with a rule, the readout alone."""
        return self._late_blocks(), Cellwise(CellReadout(self.readout))

    def _late_blocks(self) -> nn.Module:
        if self.last_block is not None:
            return nn.Identity()
        if self.num_late == 1:
            return Cellwise(ValueBlock(self.final_block))
        return LateBlocks(self._attending(self._first_late), self.final_block, self.stem.num_prefix)
