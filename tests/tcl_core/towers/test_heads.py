"""Training-free heads."""

from collections.abc import Mapping
from functools import partial
from math import exp
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tcl_core import TCL
from tcl_core.towers.heads import LAST_BLOCK_RULES, clearclip, naclip, neighbour_bias, sclip
from tcl_core.towers.official import load_tcl

RULES = {"sclip": sclip, "naclip": naclip, "kk_reduced": partial(naclip, std=None)}


def read(model: TCL, rule, images: Tensor) -> Tensor:
    """All tokens after a rule, normalised and projected: (B,1+h*w,C)."""
    encoder = model.image_encoder
    tokens, grid = encoder._before_late_blocks(images)
    return encoder.readout.cells(rule(encoder.final_block, tokens, grid))


@pytest.mark.parametrize("name", sorted(RULES))
@torch.inference_mode()
def test_rules_of_the_reference(name: str, golden_heads: Mapping[str, Tensor], golden_maskclip: TCL) -> None:
    """Oracle: recorded tokens of NACLIP's code at the native size; 1e-5 of values to 5."""
    tokens = read(golden_maskclip, RULES[name], golden_heads["image_64x64"])
    torch.testing.assert_close(tokens, golden_heads[f"{name}_64x64"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", sorted(RULES))
@torch.inference_mode()
def test_rules_at_another_size(name: str, golden_heads: Mapping[str, Tensor], golden_maskclip: TCL) -> None:
    """Oracle: the same code at 96x80, where it resizes positions by another factor: 0.1 of values to 4."""
    tokens = read(golden_maskclip, RULES[name], golden_heads["image_96x80"])
    torch.testing.assert_close(tokens, golden_heads[f"{name}_96x80"], rtol=0, atol=0.1)


@torch.inference_mode()
def test_normal_attention(golden_heads: Mapping[str, Tensor], golden_maskclip: TCL) -> None:
    """Oracle: recorded tokens of plain CLIP; 1e-5."""
    tokens = read(golden_maskclip, lambda block, tokens, grid: block(tokens), golden_heads["image_64x64"])
    torch.testing.assert_close(tokens, golden_heads["clip_plain_64x64"], rtol=0, atol=1e-5)


@torch.inference_mode()
def test_clearclip_is_a_loop_over_heads(golden_heads: Mapping[str, Tensor], golden_maskclip: TCL) -> None:
    """Oracle: query-query attention written out, without residual and MLP; 1e-5."""
    encoder = golden_maskclip.image_encoder
    tokens, grid = encoder._before_late_blocks(golden_heads["image_64x64"])
    block = encoder.final_block
    query, _, value = block.attention.qkv(block.norm1(tokens)).chunk(3, dim=-1)
    width, attended = query.shape[-1] // block.attention.num_heads, []
    for start in range(0, query.shape[-1], width):
        part = query[..., start : start + width]
        weights = (part @ part.transpose(1, 2) / width**0.5).softmax(dim=-1)
        attended.append(weights @ value[..., start : start + width])
    expected = block.attention.out(torch.cat(attended, dim=-1))
    torch.testing.assert_close(clearclip(block, tokens, grid), expected, rtol=0, atol=1e-5)


def test_neighbour_bias_is_a_gaussian() -> None:
    """Oracle: the formula, pair by pair; 1e-6. The class token has no neighbours."""
    bias = neighbour_bias((2, 3), 7, 5.0, torch.zeros(1))
    assert bias.shape == (7, 7)
    assert not bias[0].any()
    assert not bias[:, 0].any()
    for first in range(6):
        for second in range(6):
            distance = (first // 3 - second // 3) ** 2 + (first % 3 - second % 3) ** 2
            assert bias[1 + first, 1 + second].item() == pytest.approx(exp(-distance / 50), abs=1e-6)


@pytest.mark.parametrize("head", sorted(LAST_BLOCK_RULES))
@torch.inference_mode()
def test_every_head_loads_and_segments(head: str, golden_dir: Path, golden: Mapping[str, Tensor]) -> None:
    """Oracle: the dense tokens of the rule, class token left out, compared by cosine; 1e-5."""
    model = load_tcl(golden_dir / "clip_small_openai_layout.pth", head=head)
    images, text = golden["seg_image_64x64"], golden["text_emb"]
    dense = model.dense_embeddings(images)
    assert dense.shape == (2, 32, 4, 4)
    if rule := LAST_BLOCK_RULES[head]:
        tokens = read(model, rule, images)[:, 1:]
        torch.testing.assert_close(dense.flatten(2).transpose(1, 2), tokens, rtol=0, atol=1e-5)
    cosine = torch.cosine_similarity(dense[:, None], text[None, :, :, None, None], dim=2)
    expected = torch.sigmoid(10 * cosine - 2.5)
    torch.testing.assert_close(model.masks(images, text), expected, rtol=0, atol=1e-5)
    assert model.segment(images, text).shape == (2, 4, 64, 64)


def test_unknown_head(golden_dir: Path) -> None:
    with pytest.raises(ValueError, match="no head 'naclop': expected one of tcl, maskclip, sclip, clearclip, naclip"):
        load_tcl(golden_dir / "clip_small_openai_layout.pth", head="naclop")


def test_training_free_heads_take_no_checkpoint(golden_dir: Path) -> None:
    clip, checkpoint = golden_dir / "clip_small_openai_layout.pth", golden_dir / "tcl_official_small.pth"
    with pytest.raises(ValueError, match="naclip is training-free and takes no checkpoint"):
        load_tcl(clip, checkpoint, head="naclip")
