"""Fewer operations, the same numbers. Oracles: the plain form in float64, and counts made by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.convolution import UPSAMPLED, WINOGRAD, PhaseConvolution, TileConvolution
from export.graph import SegmenterGraph
from export.operations import count_in_graph, count_in_pytorch
from export.rewrite import PARTS, Part, rewritten
from export.to_onnx import Signature, to_onnx
from tcl_core import TCL
from tcl_core.grounder import GatedConvolution
from tcl_core.towers.official import load_tcl

GOLDEN = Path(__file__).parents[1] / "golden" / "tcl_small"
CLIP, CHECKPOINT = GOLDEN / "clip_small_openai_layout.pth", GOLDEN / "tcl_official_small.pth"
SIZES = [(1, 1), (2, 3), (4, 4), (7, 5), (8, 12), (13, 6)]


@pytest.fixture(scope="module")
def model() -> TCL:
    """A small TCL with recorded weights; its gates are opened, so that the decoder matters."""
    made = load_tcl(CLIP, CHECKPOINT)
    for module in made.modules():
        if isinstance(module, GatedConvolution):
            nn.init.constant_(module.gate, 0.7)
    return made


def convolution() -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(8, 6, 3, padding=1)


def exactly(conv: nn.Conv2d, features: Tensor) -> Tensor:
    return F.conv2d(features.double(), conv.weight.double(), conv.bias.double(), padding=1).float()


@pytest.mark.parametrize("size", SIZES)
@torch.inference_mode()
def test_minimal_filtering_is_the_convolution(size: tuple[int, int]) -> None:
    """Borders included: their neighbours are zeros."""
    conv, features = convolution(), torch.randn(2, 8, *size)
    torch.testing.assert_close(TileConvolution(conv, WINOGRAD)(features), exactly(conv, features), rtol=0, atol=3e-5)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", [PhaseConvolution, lambda conv: TileConvolution(conv, UPSAMPLED)])
@torch.inference_mode()
def test_the_convolution_after_upsampling_needs_only_the_small_map(kind: type, size: tuple[int, int]) -> None:
    conv, features = convolution(), torch.randn(2, 8, *size)
    upsampled = F.interpolate(features, scale_factor=2.0, mode="nearest")
    torch.testing.assert_close(kind(conv)(features), exactly(conv, upsampled), rtol=0, atol=3e-5)


def test_the_scheme_after_upsampling_follows_from_winograds() -> None:
    """Columns of B^T that meet the same cell are added; a row that becomes zero goes, with its product."""
    columns = np.array(WINOGRAD.inputs)
    read = np.stack([columns[:, 0], columns[:, 1] + columns[:, 2], columns[:, 3] + columns[:, 4], columns[:, 5]], 1)
    kept = read.any(axis=1)
    assert np.array_equal(read[kept], UPSAMPLED.inputs)
    assert np.array_equal(np.array(WINOGRAD.kernel)[kept], UPSAMPLED.kernel)
    assert np.array_equal(np.array(WINOGRAD.outputs)[:, kept], UPSAMPLED.outputs)


@pytest.mark.parametrize("head", ["tcl", "maskclip", "naclip"])
@pytest.mark.parametrize("parts", [*PARTS.values(), frozenset({"attention"}), frozenset({"positions"})])
@torch.inference_mode()
def test_masks_stay_and_the_model_is_left_alone(model: TCL, head: str, parts: frozenset[Part]) -> None:
    plain = model if head == "tcl" else load_tcl(CLIP, head=head)
    images, text = torch.randn(2, 3, 48, 80), torch.randn(3, 32)
    expected, before = plain.masks(images, text), {k: v.clone() for k, v in plain.state_dict().items()}
    changed = rewritten(plain, parts, (48, 80))
    torch.testing.assert_close(changed.masks(images, text), expected, rtol=0, atol=2e-6)
    assert list(plain.state_dict()) == list(before)
    assert all(torch.equal(value, before[name]) for name, value in plain.state_dict().items())
    assert (changed is plain) == (not parts)


@torch.inference_mode()
def test_the_known_prior_is_part_of_the_graph(model: TCL) -> None:
    """Oracle: the reference inference at the resolution of the masks."""
    images, text = torch.randn(1, 3, 64, 64), torch.randn(4, 32)
    masks = SegmenterGraph(rewritten(model, PARTS["winograd"], None), kp_weight=0.3)(images, text)
    resized = F.interpolate(masks, size=(64, 64), mode="bilinear", align_corners=False)
    torch.testing.assert_close(resized, model.segment(images, text, kp_weight=0.3), rtol=0, atol=2e-6)


def hand_count(model: TCL, height: int, width: int) -> int:
    """Multiply-adds of the recorded model: patches, attention, MLPs, decoder, projection, words."""
    dim, cells = model.image_encoder.dim, height * width
    tokens, hidden = cells + 1, 4 * dim
    patches = cells * 3 * 16 * 16 * dim
    block = tokens * (4 * dim * dim + 2 * dim * hidden) + 2 * tokens * tokens * dim
    values = cells * (2 * dim * dim + 2 * dim * hidden)
    decoder = 2 * 9 * dim * dim * cells * (4 + 16)
    last = 16 * cells * (dim * 32 + 32)
    return patches + len(model.image_encoder.blocks) * block + values + decoder + last


def test_operations_are_counted(model: TCL) -> None:
    """Oracles: a count by hand; both counters agree on the plain graph."""
    signature = Signature({"image": (1, 3, 64, 96), "text": ("words", 32)}, {"masks": (1, "words", "h", "w")})
    sample = torch.rand(1, 3, 64, 96), torch.rand(3, 32)
    inputs = {"image": np.zeros((1, 3, 64, 96), np.float32), "text": np.ones((1, 32), np.float32)}
    counts = {}
    for name, parts in PARTS.items():
        graph = SegmenterGraph(rewritten(model, parts, (64, 96)))
        counts[name] = count_in_graph(to_onnx(graph, sample, signature), inputs)
    expected = hand_count(model, 4, 6)
    assert count_in_pytorch(SegmenterGraph(model), ((1, 3, 64, 96), (1, 32))) == expected
    assert counts["none"] == expected
    dim = model.image_encoder.dim
    # One matrix instead of two for 24 cells; two stages, from 4 x 6 and 8 x 12, with one more window each way.
    windows = 5 * 7 + 9 * 13
    saved = 24 * dim * dim + 9 * dim * dim * 24 * (4 + 16) - 16 * dim * dim * windows
    assert counts["exact"] == expected - saved
    assert counts["winograd"] < 0.6 * expected


def test_convolutions_are_counted_apart(model: TCL) -> None:
    dim = model.image_encoder.dim
    convolutions = count_in_pytorch(SegmenterGraph(model), ((1, 3, 64, 96), (1, 32)), kind="convolution")
    assert convolutions == 24 * 3 * 16 * 16 * dim + 2 * 9 * dim * dim * 24 * (4 + 16)
