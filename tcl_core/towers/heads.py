"""Training-free dense heads for vision transformers: other rules for attention in the last block.

CLIP's last block gathers the whole image in the class token, so its other tokens say little about where things are.
Each rule makes a token attend to tokens like itself. `maskclip`, where it attends to itself alone, is
`Block.value_path`.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from tcl_core.towers.attention import Block

Grid = tuple[int, int]  # (h, w) of the patches
LastBlockRule = Callable[[Block, Tensor, Grid], Tensor]

# Patches within about this distance are neighbours to NACLIP (its value for all data sets).
NEIGHBOUR_STD = 5.0


def _attention(vectors: Tensor, bias: Tensor | None = None) -> Tensor:
    """Weights by likeness of the vectors among themselves: (B,heads,L,d) -> (B,heads,L,L), rows summing to 1."""
    logits = vectors @ vectors.transpose(-2, -1) * vectors.shape[-1] ** -0.5
    return torch.softmax(logits if bias is None else logits + bias, dim=-1)


def sclip(block: Block, tokens: Tensor, grid: Grid) -> Tensor:
    """Query-query plus key-key attention, residual and MLP kept: (B,L,D) -> (B,L,D). SCLIP, ECCV 2024."""
    query, key, value = block.attention.heads(block.norm1(tokens))
    attended = block.attention.merge((_attention(query) + _attention(key)) @ value)
    return block.feed_forward(tokens + block.scale1(attended))


def clearclip(block: Block, tokens: Tensor, grid: Grid) -> Tensor:
    """Query-query attention without residual and MLP: (B,L,D) -> (B,L,D). ClearCLIP, ECCV 2024."""
    query, _, value = block.attention.heads(block.norm1(tokens))
    attended: Tensor = block.scale1(block.attention.merge(_attention(query) @ value))
    return attended


def naclip(block: Block, tokens: Tensor, grid: Grid, std: float | None = NEIGHBOUR_STD) -> Tensor:
    """Key-key attention that prefers neighbours, without residual and MLP: (B,L,D) -> (B,L,D). NACLIP, WACV 2025.

    `std` is the reach of the preference in patches; None for no preference.
    """
    _, key, value = block.attention.heads(block.norm1(tokens))
    bias = None if std is None else neighbour_bias(grid, tokens.shape[1], std, tokens)
    attended: Tensor = block.scale1(block.attention.merge(_attention(key, bias) @ value))
    return attended


def neighbour_bias(grid: Grid, num_tokens: int, std: float, like: Tensor) -> Tensor:
    """exp(-distance^2 / (2 std^2)) between patches, 0 for other tokens, which come first: (L,L)."""
    height, width = grid
    rows = torch.arange(height, device=like.device, dtype=like.dtype)
    columns = torch.arange(width, device=like.device, dtype=like.dtype)
    row_bias = torch.exp(-((rows[:, None] - rows) ** 2) / (2 * std**2))
    column_bias = torch.exp(-((columns[:, None] - columns) ** 2) / (2 * std**2))
    patches = torch.kron(row_bias, column_bias)  # (h*w,h*w): the distance is separable
    others = num_tokens - height * width
    return torch.nn.functional.pad(patches, (others, 0, others, 0))


LAST_BLOCK_RULES: dict[str, LastBlockRule | None] = {
    "maskclip": None,  # the value path: ViTEncoder.project
    "sclip": sclip,
    "clearclip": clearclip,
    "naclip": naclip,
}
