"""CLIP's ResNet as a dense encoder: the attention pool's values as 1x1 convolutions (MaskCLIP)."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tcl_core.encoder import DenseEncoder, check_multiple
from tcl_core.towers.attention import Cellwise

STRIDE = 32


class PoolValues(nn.Module):
    """What the attention pool gives a cell that attends only to itself, without position: (...,D) -> (...,C)."""

    def __init__(self, value: nn.Module, out: nn.Module) -> None:
        super().__init__()
        self.value = value
        self.out = out

    def forward(self, cells: Tensor) -> Tensor:
        """Run the value path."""
        read: Tensor = self.out(self.value(cells))
        return read


class ResNetEncoder(DenseEncoder):
    """OpenAI's modified ResNet.

    Args:
        tower: open_clip `ModifiedResNet`; its layers are taken over.
    """

    tower: Any

    def __init__(self, tower: Any) -> None:
        super().__init__()
        pool = tower.attnpool
        self.tower = tower
        self.values = Cellwise(PoolValues(pool.v_proj, pool.c_proj))
        self.stride = STRIDE
        self.dim = pool.v_proj.in_features
        self.embed_dim = pool.c_proj.out_features
        side = round((pool.positional_embedding.shape[0] - 1) ** 0.5)
        self.native_grid = (side, side)

    def features(self, images: Tensor) -> Tensor:
        """Compute the last convolutional map: (B,3,H,W), sides multiples of 32 -> (B,D,h,w)."""
        check_multiple(images, self.stride)
        tower = self.tower
        features: Tensor = tower.stem(images)
        for layer in (tower.layer1, tower.layer2, tower.layer3, tower.layer4):
            features = layer(features)
        return features

    def project(self, features: Tensor) -> Tensor:
        """Map features into the joint space, cell by cell: (B,D,h,w) -> (B,C,h,w), not normalised."""
        embeddings: Tensor = self.values(features)
        return embeddings

    def embed(self, images: Tensor) -> Tensor:
        """Embed whole images by the attention pool: (B,3,H,W) -> (B,C), not normalised."""
        features = self.features(images)
        cells = features.flatten(2).transpose(1, 2)  # (B,h*w,D)
        tokens = torch.cat([cells.mean(dim=1, keepdim=True), cells], dim=1)
        tokens = tokens + self._position((features.shape[2], features.shape[3]))
        return self._pool(tokens)

    def last_layers(self) -> tuple[nn.Module, nn.Module | None]:
        """Copy the projection; a convolutional tower has no last block that could be trained apart."""
        return nn.Identity(), deepcopy(self.values)

    def _position(self, grid: tuple[int, int]) -> Tensor:
        position: Tensor = self.tower.attnpool.positional_embedding
        if grid == self.native_grid:
            return position
        cells = position[1:].T.reshape(1, self.dim, *self.native_grid)
        cells = F.interpolate(cells, size=grid, mode="bicubic", align_corners=False)
        return torch.cat([position[:1], cells.flatten(2)[0].T])

    def _pool(self, tokens: Tensor) -> Tensor:
        pool = self.tower.attnpool
        split = (pool.num_heads, self.dim // pool.num_heads)
        query = pool.q_proj(tokens[:, :1]).unflatten(-1, split).transpose(1, 2)  # (B,heads,1,d)
        key = pool.k_proj(tokens).unflatten(-1, split).transpose(1, 2)
        value = pool.v_proj(tokens).unflatten(-1, split).transpose(1, 2)
        attended = F.scaled_dot_product_attention(query, key, value)
        pooled: Tensor = pool.c_proj(attended.transpose(1, 2).flatten(2))[:, 0]
        return pooled
