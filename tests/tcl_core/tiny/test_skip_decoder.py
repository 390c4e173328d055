"""The decoder of tiny."""

import torch
import torch.nn.functional as F
from torch import nn

from tcl_core.tiny.skip_decoder import GatedBottleneck, SkipDecoder, Stages

STAGES = Stages(embed=8, coarse=5, fine=4)


def parts() -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    shapes = (8, 2, 3), (5, 2, 3), (4, 4, 6)
    return tuple(torch.randn(2, *shape, generator=generator) for shape in shapes)


def test_stages_are_joined_and_split_again() -> None:
    """Oracle: the parts themselves, bit for bit."""
    joined = STAGES.join(*parts())
    assert joined.shape == (2, STAGES.dim, 2, 3)
    for part, again in zip(parts(), STAGES.split(joined), strict=True):
        assert torch.equal(part, again)


def test_at_initialisation_it_is_bilinear_upsampling() -> None:
    """Oracle: torch's own interpolation of the projected map alone, exactly."""
    torch.manual_seed(0)
    expected = F.interpolate(parts()[0], scale_factor=2.0, mode="bilinear", align_corners=False)
    assert torch.equal(SkipDecoder(STAGES, 6)(STAGES.join(*parts())), expected)


def test_every_stage_reaches_the_result_once_gates_open() -> None:
    """Oracle: gradients: zero at closed gates, not zero at open ones."""
    torch.manual_seed(0)
    decoder = SkipDecoder(STAGES, 6)
    for opening in (0.0, 0.5):
        joined = STAGES.join(*parts()).requires_grad_()
        for block in (decoder.coarse, decoder.fine):
            nn.init.constant_(block.gate, opening)
        decoder(joined).square().sum().backward()
        assert joined.grad is not None
        for number, part in enumerate(STAGES.split(joined.grad)):
            assert bool(part.abs().sum() > 0) == (number == 0 or opening > 0)


def test_bottleneck_equals_its_formula() -> None:
    """Oracle: the same layers written out with torch's functions on the flattened map."""
    torch.manual_seed(1)
    block = GatedBottleneck(5, 4, 3)
    nn.init.constant_(block.gate, 0.7)
    x = torch.randn(1, 5, 6, 7)
    normed = F.layer_norm(x.permute(0, 2, 3, 1), (5,), block.norm.weight, block.norm.bias)
    narrow = (normed @ block.narrow.weight[:, :, 0, 0].T + block.narrow.bias).clamp(0, 6).permute(0, 3, 1, 2)
    spatial = torch.cat(
        [F.conv2d(narrow[:, k : k + 1], block.spatial.weight[k : k + 1], padding=2) for k in range(4)], dim=1
    )
    hidden = (spatial + block.spatial.bias[:, None, None]).clamp(0, 6)
    widened = torch.einsum("bchw,dc->bdhw", hidden, block.widen.weight[:, :, 0, 0])
    expected = torch.tanh(torch.tensor(0.7)) * (widened + block.widen.bias[:, None, None])
    torch.testing.assert_close(block(x), expected, rtol=1e-5, atol=1e-5)
