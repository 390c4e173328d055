"""CLIP's ResNet against open_clip's, with random weights."""

import open_clip
import pytest
import torch
from torch import nn

from tcl_core.grounder import grounder_for
from tcl_core.towers.open_clip import ClipModel, image_encoder_from
from tcl_core.towers.resnet import ResNetEncoder


@pytest.fixture(scope="module")
def clip() -> ClipModel:
    torch.manual_seed(0)
    vision = {"layers": (1, 1, 1, 1), "width": 16, "image_size": 64, "patch_size": None, "head_width": 64}
    text = {"context_length": 12, "vocab_size": 100, "width": 64, "heads": 1, "layers": 1}
    model = open_clip.CLIP(32, vision, text, quick_gelu=True).eval()
    for module in model.visual.modules():
        if isinstance(module, nn.BatchNorm2d):  # open_clip starts the last of every block at zero
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.running_mean)
    nn.init.normal_(model.visual.attnpool.positional_embedding)
    return ClipModel("small resnet", model, None, (0.5,) * 3, (0.5,) * 3, quick_gelu=True)


@torch.inference_mode()
def test_global_embedding(clip: ClipModel) -> None:
    """Oracle: open_clip's forward; 1e-5."""
    images = torch.randn(2, 3, 64, 64)
    encoder = image_encoder_from(clip)
    assert isinstance(encoder, ResNetEncoder)
    torch.testing.assert_close(encoder.embed(images), clip.model.visual(images), rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_dense_embeddings(clip: ClipModel) -> None:
    """Oracle: values and output of the attention pool as 1x1 convolutions, no position (MaskCLIP); 1e-5."""
    images = torch.randn(2, 3, 96, 64)
    encoder, pool = image_encoder_from(clip), clip.model.visual.attnpool
    features = encoder.features(images)
    value = nn.functional.conv2d(features, pool.v_proj.weight[..., None, None], pool.v_proj.bias)
    expected = nn.functional.conv2d(value, pool.c_proj.weight[..., None, None], pool.c_proj.bias)
    assert features.shape == (2, 512, 3, 2)
    torch.testing.assert_close(encoder.project(features), expected, rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_zero_gates_change_nothing(clip: ClipModel) -> None:
    """Oracle: nearest upsampling of the frozen embeddings; 1e-6."""
    encoder = image_encoder_from(clip)
    features = encoder.features(torch.randn(1, 3, 64, 64))
    grounder = grounder_for(encoder)
    assert grounder.projection is not None
    expected = nn.functional.interpolate(encoder.project(features), scale_factor=4.0, mode="nearest")
    torch.testing.assert_close(grounder.projection(grounder(features)), expected, rtol=0, atol=1e-6)


def test_rules_for_attention_need_attention(clip: ClipModel) -> None:
    with pytest.raises(ValueError, match="naclip is a rule for attention and small resnet is no vision transformer"):
        image_encoder_from(clip, "naclip")


@torch.inference_mode()
def test_other_sizes_embed(clip: ClipModel) -> None:
    """Oracle: the native size is untouched by resizing positions; exact there, finite elsewhere."""
    encoder = image_encoder_from(clip)
    assert isinstance(encoder, ResNetEncoder)
    assert torch.equal(encoder._position((2, 2)), clip.model.visual.attnpool.positional_embedding)
    assert encoder.embed(torch.randn(1, 3, 96, 128)).isfinite().all()
