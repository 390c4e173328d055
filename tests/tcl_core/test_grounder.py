"""The grounder: identities at zero gates, masks, sampling."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tcl_core.grounder import (
    ChannelNorm,
    DecoderStage,
    GatedConvolution,
    GatedDecoder,
    SimilarityToMask,
    sample_hard_masks,
    similarity,
)
from tcl_core.towers.official import load_tcl


@torch.inference_mode()
def test_untrained_grounder_is_maskclip(golden_dir: Path, golden: Mapping[str, Tensor]) -> None:
    """Oracle: sigmoid(10 cosine - 2.5) of the recorded MaskCLIP embeddings, nearest-upsampled x4; 1e-6."""
    model = load_tcl(golden_dir / "clip_small_openai_layout.pth")
    text, frozen = golden["text_emb"], golden["maskclip_dense_emb"]
    cosine = torch.einsum("bchw,nc->bnhw", frozen / frozen.norm(dim=1, keepdim=True), text / text.norm(dim=1)[:, None])
    expected = torch.sigmoid(10 * cosine - 2.5).repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    torch.testing.assert_close(model.masks(golden["train_image"], text), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("num_stages", [0, 1, 2, 3])
def test_closed_decoder_is_nearest_upsampling(num_stages: int) -> None:
    """Oracle: every cell repeated; exact."""
    features = torch.randn(2, 6, 3, 4)
    scale = 2**num_stages
    expected = features.repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)
    assert torch.equal(GatedDecoder(6, num_stages)(features), expected)


def test_open_stage_is_written_out() -> None:
    """Oracle: the stage by torch functions, with gates, norms and convolutions that all matter; 1e-6."""
    torch.manual_seed(0)
    stage = DecoderStage(6)
    for parameter in stage.parameters():
        nn.init.normal_(parameter)
    features = torch.randn(1, 6, 3, 4)
    expected = features.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    for part in (stage.first, stage.second):
        mean, var = expected.mean(dim=1, keepdim=True), expected.var(dim=1, keepdim=True, unbiased=False)
        normed = (expected - mean) / (var + 1e-5).sqrt() * part.norm.weight[:, None, None] + part.norm.bias[
            :, None, None
        ]
        active = normed * 0.5 * (1 + torch.erf(normed / 2**0.5))
        residual = nn.functional.conv2d(active, part.conv.weight, part.conv.bias, padding=1)
        expected = expected + torch.tanh(part.gate) * residual
    torch.testing.assert_close(stage(features), expected, rtol=1e-5, atol=1e-5)


def test_gate_gets_a_gradient_while_closed() -> None:
    """Oracle: d tanh(g)/dg = 1 at 0, so the gate's gradient is the sum of the residual; 1e-4."""
    torch.manual_seed(0)
    part, features = GatedConvolution(4), torch.randn(1, 4, 5, 5)
    part(features).sum().backward()
    residual = part.conv(nn.functional.gelu(part.norm(features)))
    torch.testing.assert_close(part.gate.grad, residual.sum().detach(), rtol=1e-4, atol=1e-4)
    assert not part.conv.weight.grad.any()


def test_channel_norm_is_layer_norm_of_cells() -> None:
    """Oracle: torch's LayerNorm on one cell; 1e-6."""
    norm, features = ChannelNorm(8), torch.randn(2, 8, 3, 4)
    torch.testing.assert_close(
        norm(features)[1, :, 2, 3], nn.functional.layer_norm(features[1, :, 2, 3], (8,)), rtol=0, atol=1e-6
    )


def test_similarity_ignores_length() -> None:
    """Oracle: torch's cosine similarity; 1e-5. A zero vector has cosine 0, not NaN."""
    dense, text = torch.randn(2, 8, 3, 4), torch.randn(5, 8)
    expected = torch.cosine_similarity(dense[:, None], text[None, :, :, None, None], dim=2)
    torch.testing.assert_close(similarity(3 * dense, text / 7), expected, rtol=0, atol=1e-5)
    assert not similarity(torch.zeros(1, 8, 1, 1), text).any()


def test_mask_of_one_half_is_a_cosine_of_one_quarter() -> None:
    """Oracle: the paper's initial scale and bias; 1e-5."""
    text = torch.tensor([[1.0, 0.0]])
    dense = torch.tensor([0.25, (1 - 0.25**2) ** 0.5]).view(1, 2, 1, 1)
    torch.testing.assert_close(SimilarityToMask()(dense, text), torch.full((1, 1, 1, 1), 0.5), rtol=0, atol=1e-5)


def test_sampling_frequency_and_gradient() -> None:
    """Oracle: P(mask = 1) = sigmoid(logit), within four standard deviations; gradient of the noisy sigmoid."""
    logits = torch.tensor([-2.0, 0.0, 1.5]).repeat(20000, 1).requires_grad_()
    hard = sample_hard_masks(logits, generator=torch.Generator().manual_seed(0))
    assert set(hard.detach().unique().tolist()) == {0.0, 1.0}
    expected = torch.sigmoid(logits[0].detach())
    deviation = (expected * (1 - expected) / 20000).sqrt()
    assert ((hard.detach().mean(dim=0) - expected).abs() < 4 * deviation).all()
    hard.sum().backward()
    assert logits.grad is not None
    assert ((logits.grad > 0) & (logits.grad <= 0.25)).all()


def test_sampling_repeats_with_its_generator() -> None:
    """Oracle: the same seed; exact. Global random state is not touched."""
    logits, state = torch.randn(2, 3, 8, 8), torch.get_rng_state()
    first = sample_hard_masks(logits, generator=torch.Generator().manual_seed(5))
    assert torch.equal(first, sample_hard_masks(logits, generator=torch.Generator().manual_seed(5)))
    assert torch.equal(state, torch.get_rng_state())
