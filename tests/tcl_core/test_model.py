"""The model as a whole: what it refuses, and the smallest inputs."""

import pytest
import torch

import tcl_core
from tcl_core import TCL, Grounder, Preprocess


def test_public_names() -> None:
    assert all(hasattr(tcl_core, name) for name in tcl_core.__all__)
    assert {"TCL", "Grounder", "load_tcl"} <= set(tcl_core.__all__)
    with pytest.raises(AttributeError, match="no attribute 'load_tlc'"):
        _ = tcl_core.load_tlc


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (17, 16)])
@torch.inference_mode()
def test_small_images(golden_model: TCL, size: tuple[int, int]) -> None:
    """Oracle: shape and range. The image is padded with its mean colour."""
    masks = golden_model.segment(torch.randn(1, 3, *size), torch.randn(2, 32), pamr=True, kp_weight=0.3)
    assert masks.shape == (1, 2, *size)
    assert ((masks >= 0) & (masks <= 1)).all()


@pytest.mark.parametrize("shape", [(1, 3, 0, 5), (0, 3, 8, 8), (3, 8, 8), (1, 1, 8, 8)])
def test_images_that_are_none(golden_model: TCL, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(B,3,H,W\) with at least one pixel"):
        golden_model.segment(torch.zeros(shape), torch.randn(2, 32))


@pytest.mark.parametrize("shape", [(0, 32), (2, 16), (32,)])
def test_words_that_are_none(golden_model: TCL, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(N,32\), one word at least"):
        golden_model.segment(torch.zeros(1, 3, 16, 16), torch.zeros(shape))


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan")])
def test_kp_weight_is_a_share(golden_model: TCL, weight: float) -> None:
    with pytest.raises(ValueError, match="expected a share between 0 and 1"):
        golden_model.segment(torch.zeros(1, 3, 16, 16), torch.randn(1, 32), kp_weight=weight)


def test_towers_of_different_models(golden_model: TCL) -> None:
    class Other(torch.nn.Module):
        embed_dim = 16

    with pytest.raises(ValueError, match="embeds in 32 dimensions and the text encoder in 16"):
        TCL(golden_model.image_encoder, Other(), Grounder(), Preprocess((0,) * 3, (1,) * 3, 64, 16))


def test_train_and_eval_return_the_model(golden_dir) -> None:
    """Oracle: PyTorch's contract, so that calls can be chained; no mode changes a result."""
    model = tcl_core.load_tcl(golden_dir / "clip_small_openai_layout.pth", golden_dir / "tcl_official_small.pth")
    images, text = torch.randn(1, 3, 64, 64), torch.randn(2, 32)
    assert not model.training
    with torch.inference_mode():
        before = model.masks(images, text)
        assert model.train() is model
        assert torch.equal(model.masks(images, text), before)
        assert model.eval() is model
    assert set(model.state_dict()) == set(dict(model.named_parameters()))  # nothing is created while running
