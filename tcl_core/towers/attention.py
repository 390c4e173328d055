"""Transformer blocks, taken over from open_clip and timm and written so that they can be read, exported and changed.

Their modules and parameters are reused; only the flow between them is ours. `nn.MultiheadAttention` would export with
the batch size of the example baked in.
"""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Multi-head self-attention over tokens (B,L,D), with its parts accessible.

    Args:
        qkv: D -> 3D; rows of queries, then keys, then values.
        out: D -> D.
        num_heads: divides D.
        query_norm: normalises every query of a head; none in CLIP.
        key_norm: the same for keys.
    """

    def __init__(
        self,
        qkv: nn.Linear,
        out: nn.Module,
        num_heads: int,
        query_norm: nn.Module | None = None,
        key_norm: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.qkv = qkv
        self.out = out
        self.num_heads = num_heads
        self.query_norm = query_norm or nn.Identity()
        self.key_norm = key_norm or nn.Identity()

    def heads(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute queries, keys and values of every head: (B,L,D) -> three of (B,heads,L,D/heads)."""
        qkv = self.qkv(tokens).unflatten(-1, (3, self.num_heads, -1))  # (B,L,3,heads,D/heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        return self.query_norm(query), self.key_norm(key), value

    def merge(self, heads: Tensor) -> Tensor:
        """Bring the heads together again: (B,heads,L,D/heads) -> (B,L,D)."""
        merged: Tensor = self.out(heads.transpose(1, 2).flatten(2))
        return merged

    def values(self, cells: Tensor) -> Tensor:
        """Compute what a token that attends only to itself receives: (...,D) -> (...,D).

        Queries and keys are not needed for it, nor a mask.
        """
        dim = self.qkv.in_features
        bias = None if self.qkv.bias is None else self.qkv.bias[2 * dim :]
        received: Tensor = self.out(F.linear(cells, self.qkv.weight[2 * dim :], bias))
        return received

    def forward(self, tokens: Tensor, bias: Tensor | None = None) -> Tensor:
        """Attend: (B,L,D), optional (L,L) added to the attention logits -> (B,L,D)."""
        query, key, value = self.heads(tokens)
        return self.merge(F.scaled_dot_product_attention(query, key, value, attn_mask=bias))


class Block(nn.Module):
    """Pre-norm transformer block: x + scale1(attention(norm1(x))), then x + scale2(mlp(norm2(x)))."""

    def __init__(
        self,
        norm1: nn.Module,
        attention: Attention,
        norm2: nn.Module,
        mlp: nn.Module,
        scale1: nn.Module | None = None,
        scale2: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.norm1 = norm1
        self.attention = attention
        self.scale1 = scale1 or nn.Identity()
        self.norm2 = norm2
        self.mlp = mlp
        self.scale2 = scale2 or nn.Identity()

    def forward(self, tokens: Tensor, bias: Tensor | None = None) -> Tensor:
        """Run the block: (B,L,D), optional attention bias (L,L) -> (B,L,D)."""
        return self.feed_forward(tokens + self.scale1(self.attention(self.norm1(tokens), bias)))

    def value_path(self, cells: Tensor) -> Tensor:
        """Run the block with every token attending only to itself (MaskCLIP): (...,D) -> (...,D)."""
        return self.feed_forward(cells + self.scale1(self.attention.values(self.norm1(cells))))

    def feed_forward(self, cells: Tensor) -> Tensor:
        """Run the second half of the block: (...,D) -> (...,D)."""
        fed: Tensor = cells + self.scale2(self.mlp(self.norm2(cells)))
        return fed


class Cellwise(nn.Module):
    """Apply a function of tokens (...,D) to every cell of a map: (B,D,h,w) -> (B,D',h,w)."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, features: Tensor) -> Tensor:
        """Apply it."""
        return cellwise(self.module, features)


def cellwise(function: Callable[[Tensor], Tensor], features: Tensor) -> Tensor:
    """Apply a function of tokens (...,D) to every cell of a map: (B,D,h,w) -> (B,D',h,w)."""
    return function(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ValueBlock(nn.Module):
    """A copy of a block that can only run its value path, over (...,D): no queries, no keys."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        dim = block.attention.qkv.in_features
        self.norm1 = deepcopy(block.norm1)
        self.value = nn.Linear(dim, dim, bias=block.attention.qkv.bias is not None)
        with torch.no_grad():
            self.value.weight.copy_(block.attention.qkv.weight[2 * dim :])
            if block.attention.qkv.bias is not None:
                self.value.bias.copy_(block.attention.qkv.bias[2 * dim :])
        self.out = deepcopy(block.attention.out)
        self.scale1 = deepcopy(block.scale1)
        self.norm2 = deepcopy(block.norm2)
        self.mlp = deepcopy(block.mlp)
        self.scale2 = deepcopy(block.scale2)

    def forward(self, cells: Tensor) -> Tensor:
        """Run the value path: (...,D) -> (...,D)."""
        cells = cells + self.scale1(self.out(self.value(self.norm1(cells))))
        fed: Tensor = cells + self.scale2(self.mlp(self.norm2(cells)))
        return fed


def block_from_open_clip(block: Any) -> Block:
    """Take over an open_clip `ResidualAttentionBlock`.

    Raises:
        ValueError: a block of another kind.
    """
    attention = getattr(block, "attn", None)
    if not isinstance(attention, nn.MultiheadAttention) or attention.in_proj_weight is None:
        raise ValueError(
            f"transformer block {type(block).__name__} with {type(attention).__name__}: expected open_clip's "
            "ResidualAttentionBlock with nn.MultiheadAttention; take a plain ViT (ViT-B-16, ViT-L-14, ...)"
        )
    dim = attention.embed_dim
    qkv = nn.Linear(dim, 3 * dim, bias=attention.in_proj_bias is not None, device="meta")
    qkv.weight, qkv.bias = attention.in_proj_weight, attention.in_proj_bias
    own = Attention(qkv, attention.out_proj, attention.num_heads)
    return Block(block.ln_1, own, block.ln_2, block.mlp, block.ls_1, block.ls_2)


def block_from_timm(block: Any) -> Block:
    """Take over a timm `vision_transformer.Block`.

    Raises:
        ValueError: a block of another kind, or attention with parts that CLIP models do not have.
    """
    from timm.layers.attention import Attention as TimmAttention
    from timm.models.vision_transformer import Block as TimmBlock

    attention: Any = getattr(block, "attn", None)
    plain = type(block) is TimmBlock and type(attention) is TimmAttention
    if not plain or attention.gate is not None or not isinstance(attention.norm, nn.Identity):
        raise ValueError(
            f"transformer block {type(block).__name__} with {type(attention).__name__}: expected timm's plain "
            "vision_transformer.Block; rotary (EVA, PE) and windowed attention are not supported"
        )
    own = Attention(attention.qkv, attention.proj, attention.num_heads, attention.q_norm, attention.k_norm)
    return Block(block.norm1, own, block.norm2, block.mlp, block.ls1, block.ls2)
