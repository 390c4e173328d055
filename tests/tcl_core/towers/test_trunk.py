"""Convolutional timm trunks against their own forward, with random weights."""

import pytest
import timm
import torch
from torch import nn

from tcl_core.grounder import grounder_for
from tcl_core.towers.trunk import TrunkEncoder

# These heads average, then are linear.
LINEAR_POOLS = ("tf_efficientnet_lite0", "fastvit_t8")
TRUNKS = (*LINEAR_POOLS, "convnext_atto", "mobilenetv3_small_050")


def build(name: str) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    trunk = timm.create_model(name, pretrained=False, num_classes=24).eval()
    for module in trunk.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
    return trunk, nn.Linear(24, 16, bias=False)


@pytest.mark.parametrize("name", TRUNKS)
@torch.inference_mode()
def test_global_and_dense(name: str) -> None:
    """Oracle: timm's forward for the image; its head on single cells for the map; 1e-5.

    Where the head is linear, the mean of the map is the image.
    """
    trunk, projection = build(name)
    encoder = TrunkEncoder(trunk, projection, image_size=64).eval()
    images = torch.randn(2, 3, 96, 64)
    assert (encoder.stride, encoder.embed_dim) == (32, 16)
    torch.testing.assert_close(encoder.embed(images), projection(trunk(images)), rtol=1e-5, atol=1e-5)
    features = encoder.features(images)
    assert features.shape == (2, encoder.dim, 3, 2)
    dense = encoder.project(features)
    for row, column in ((0, 0), (2, 1)):
        alone = features[:, :, row : row + 1, column : column + 1]
        expected = projection(trunk.forward_head(alone))
        torch.testing.assert_close(dense[:, :, row, column], expected, rtol=1e-5, atol=1e-5)
    if name in LINEAR_POOLS:
        torch.testing.assert_close(dense.mean(dim=(2, 3)), encoder.embed(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["convnext_atto"])
@torch.inference_mode()
def test_zero_gates_change_nothing(name: str) -> None:
    """Oracle: nearest upsampling of the frozen embeddings; 1e-5."""
    encoder = TrunkEncoder(*build(name), image_size=64).eval()
    features = encoder.features(torch.randn(1, 3, 64, 64))
    grounder = grounder_for(encoder)
    assert grounder.projection is not None
    expected = nn.functional.interpolate(encoder.project(features), scale_factor=4.0, mode="nearest")
    torch.testing.assert_close(grounder.projection(grounder(features)), expected, rtol=0, atol=1e-5)


def test_measuring_leaves_batch_statistics_alone() -> None:
    """Oracle: statistics before; exact."""
    trunk, projection = build("mobilenetv3_small_050")
    before = {name: value.clone() for name, value in trunk.state_dict().items()}
    encoder = TrunkEncoder(trunk.train(), projection, image_size=64)
    assert encoder.training
    assert all(torch.equal(value, before[name]) for name, value in trunk.state_dict().items())


def test_a_trunk_without_a_map() -> None:
    trunk = timm.create_model("vit_tiny_patch16_224", pretrained=False)
    with pytest.raises(ValueError, match=r"gives features of shape \(1, 197, 192\): expected a map"):
        TrunkEncoder(trunk, nn.Identity(), image_size=224)


def test_a_trunk_that_pools_in_an_unknown_way() -> None:
    trunk = timm.create_model("mobilenetv3_small_050", pretrained=False, num_classes=24)
    trunk.forward_head = lambda features: features.amax(dim=(2, 3))
    with pytest.raises(ValueError, match="its pooling was not found"):
        TrunkEncoder(trunk, nn.Identity(), image_size=64)
