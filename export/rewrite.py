"""The same numbers from fewer operations: what is rewritten in a model before it is traced.

Each rewrite is an identity of arithmetic, not an approximation; the results differ by rounding only. Where nothing is
known to be rewritten, the model is left alone.
"""

from collections.abc import Collection
from copy import deepcopy
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.convolution import UPSAMPLED, WINOGRAD, PhaseConvolution, TileConvolution
from tcl_core import TCL
from tcl_core.grounder import DecoderStage, GatedConvolution
from tcl_core.towers.attention import Attention, ValueBlock
from tcl_core.towers.vit import PatchStem, ViTEncoder

Part = Literal["attention", "positions", "phases", "winograd"]
"""What is rewritten.

attention: values and outputs become one matrix where a token attends only to itself.
positions: those of a fixed size are baked.
phases: gates go into convolutions, and the first convolution after an upsampling is computed on the small map.
winograd: the same with the least multiplications, in all 3x3 convolutions of the decoder. For float32 only, since the
transformed numbers are larger.
"""

Rewrite = Literal["none", "exact", "winograd"]
PARTS: dict[Rewrite, frozenset[Part]] = {
    "none": frozenset(),
    "exact": frozenset({"attention", "positions", "phases"}),
    "winograd": frozenset({"attention", "positions", "winograd"}),
}


def rewritten(model: TCL, parts: Collection[Part], size: tuple[int, int] | None) -> TCL:
    """Make a copy of a model that computes the same masks with fewer operations; the text encoder is shared.

    Args:
        model: is left as it is.
        parts: what to rewrite; nothing returns the model itself.
        size: (height, width) in pixels that all images will have; None for any.
    """
    if not parts:
        return model
    made = TCL(deepcopy(model.image_encoder), model.text_encoder, deepcopy(model.grounder), model.preprocess)
    with torch.no_grad():
        if isinstance(made.image_encoder, ViTEncoder):
            if "attention" in parts and made.image_encoder.last_block is None:
                _fold_attention(made.image_encoder.final_block.attention)
            if "positions" in parts and size is not None:
                _bake_positions(made.image_encoder.stem, size)
        for module in list(made.grounder.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, DecoderStage) and {"phases", "winograd"} & set(parts):
                    setattr(module, name, FoldedStage(child, winograd="winograd" in parts))
                elif isinstance(child, ValueBlock) and "attention" in parts:
                    _fold_values(child)
    return made.eval()


class FoldedStage(nn.Module):
    """A decoder stage with its gates in its convolutions and the first of them on the small map.

    Norm and GELU look at one cell at a time, so they commute with nearest upsampling.

    Args:
        stage: is copied.
        winograd: use the least multiplications.
    """

    def __init__(self, stage: DecoderStage, *, winograd: bool) -> None:
        super().__init__()
        first, second = _gated(stage.first), _gated(stage.second)
        self.first_norm, self.second_norm = stage.first.norm, stage.second.norm
        self.first: nn.Module = TileConvolution(first, UPSAMPLED) if winograd else PhaseConvolution(first)
        self.second: nn.Module = TileConvolution(second, WINOGRAD) if winograd else second

    def forward(self, features: Tensor) -> Tensor:
        """Upsample and refine: (B,D,h,w) -> (B,D,2h,2w)."""
        residual = self.first(F.gelu(self.first_norm(features)))
        features = F.interpolate(features, scale_factor=2.0, mode="nearest") + residual
        refined: Tensor = features + self.second(F.gelu(self.second_norm(features)))
        return refined


def _gated(gated: GatedConvolution) -> nn.Conv2d:
    conv = deepcopy(gated.conv)
    gate = gated.gate.detach().double().tanh()
    conv.weight.copy_(conv.weight.double() * gate)
    assert conv.bias is not None
    conv.bias.copy_(conv.bias.double() * gate)
    return conv


def _product(value: nn.Linear, out: nn.Linear) -> nn.Linear:
    """One linear map for two in a row: out(value(x))."""
    product = nn.Linear(value.in_features, out.out_features)
    bias = torch.zeros(out.in_features, dtype=torch.float64) if value.bias is None else value.bias.double()
    product.weight.copy_(out.weight.double() @ value.weight.double())
    product.bias.copy_(out.weight.double() @ bias + (0 if out.bias is None else out.bias.double()))
    return product


def _fold_values(block: ValueBlock) -> None:
    if isinstance(block.out, nn.Linear):
        block.value, block.out = _product(block.value, block.out), nn.Identity()


def _fold_attention(attention: Attention) -> None:
    """Fold the value path of attention; queries and keys are kept, and not traced, because nothing uses them."""
    if not isinstance(attention.out, nn.Linear):
        return
    qkv, dim = attention.qkv, attention.qkv.in_features
    value = nn.Linear(dim, dim)
    value.weight.copy_(qkv.weight[2 * dim :])
    value.bias.copy_(torch.zeros(dim) if qkv.bias is None else qkv.bias[2 * dim :])
    product = _product(value, attention.out)
    weight, bias = qkv.weight.detach().clone(), torch.zeros(3 * dim)
    weight[2 * dim :], bias[2 * dim :] = product.weight, product.bias
    attention.qkv = nn.Linear(dim, 3 * dim)
    attention.qkv.weight.copy_(weight)
    attention.qkv.bias.copy_(bias)
    attention.out = nn.Identity()


def _bake_positions(stem: PatchStem, size: tuple[int, int]) -> None:
    grid = (size[0] // stem.stride, size[1] // stem.stride)
    stem.grid_position = nn.Parameter(stem.position(grid).clone())
    stem.native_grid = grid


__all__ = ["PARTS", "FoldedStage", "Part", "Rewrite", "rewritten"]
