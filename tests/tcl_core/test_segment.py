"""Steps of the reference inference."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tcl_core.segment import blend, crop, known_prior, label_map, pad_to_multiple, resize, slide, window_starts

sides = st.integers(1, 70)


@settings(deadline=None)
@given(sides, sides, st.sampled_from([1, 14, 16, 32]))
def test_padding_is_centred_and_undone(height: int, width: int, multiple: int) -> None:
    """Oracle: the crop is the image; an odd pixel goes right and below; exact."""
    images = torch.randn(1, 3, height, width)
    padded, padding = pad_to_multiple(images, multiple)
    assert padded.shape[2] % multiple == padded.shape[3] % multiple == 0
    assert max(padded.shape[2] - height, padded.shape[3] - width) < multiple
    left, right, top, bottom = padding
    assert right - left in (0, 1)
    assert bottom - top in (0, 1)
    assert torch.equal(crop(padded, padding), images)
    assert padded.abs().sum() == pytest.approx(images.abs().sum().item(), rel=1e-4)


@pytest.mark.parametrize(
    ("length", "starts"),
    [
        (448, [0]),
        (300, [0]),
        (449, [0, 1]),
        (672, [0, 224]),
        (673, [0, 224, 225]),
        (2048, [0, 224, 448, 672, 896, 1120, 1344, 1568, 1600]),
    ],
)
def test_window_starts(length: int, starts: list[int]) -> None:
    """Oracle: the evaluation's rule, max(length - 448 + 223, 0) // 224 + 1 windows, worked out by hand."""
    assert window_starts(length, 448, 224) == starts


@settings(deadline=None, max_examples=50)
@given(sides, sides, st.integers(1, 20), st.data())
def test_windows_cover_every_pixel(height: int, width: int, window: int, data: st.DataObject) -> None:
    """Oracle: an average of what a function of the pixel alone gives is that function; 1e-5."""
    stride = data.draw(st.integers(1, window))
    images = torch.rand(1, 3, height, width)
    seen = []
    masks = slide(lambda x: x[:, :2] * 2, images, window=window, stride=stride, progress=lambda *n: seen.append(n))
    torch.testing.assert_close(masks, images[:, :2] * 2, rtol=0, atol=1e-5)
    assert seen[-1] == (len(seen), len(seen))


@pytest.mark.parametrize("stride", [0, 9])
def test_strides_with_gaps(stride: int) -> None:
    with pytest.raises(ValueError, match=f"stride is {stride} for a window of 8"):
        slide(lambda x: x, torch.zeros(1, 3, 8, 8), window=8, stride=stride)


def test_blend_of_a_coarse_prior() -> None:
    """Oracle: 0.3 prior + 0.7 masks, the prior resized bilinearly; exact."""
    masks, prior = torch.rand(1, 2, 8, 8), torch.rand(1, 2, 2, 2)
    assert torch.equal(blend(masks, prior, 0.3), 0.3 * resize(prior, (8, 8)) + 0.7 * masks)
    assert torch.equal(blend(masks, prior, 0.0), masks)


def test_known_prior_is_the_initial_mask() -> None:
    """Oracle: sigmoid(10 (cosine - 0.25)); 1e-6."""
    dense, text = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1), torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    expected = torch.sigmoid(torch.tensor([7.5, -2.5])).view(1, 2, 1, 1)
    torch.testing.assert_close(known_prior(dense, text), expected, rtol=0, atol=1e-5)


def test_label_map() -> None:
    """Oracle: worked out by hand."""
    masks = torch.tensor([[0.2, 0.6, 0.5], [0.3, 0.7, 0.1]]).view(1, 2, 1, 3)
    assert label_map(masks).tolist() == [[[1, 1, 0]]]
    assert label_map(masks, 0.4).tolist() == [[[0, 2, 1]]]
    assert label_map(masks, 0.5).tolist() == [[[0, 2, 0]]]  # a mask must exceed the threshold
    background = torch.tensor([[0.1, 0.65, 0.9], [0.25, 0.1, 0.1]]).view(1, 2, 1, 3)
    assert label_map(masks, None, background).tolist() == [[[2, 2, 0]]]
    assert label_map(masks, 0.4, background).tolist() == [[[0, 2, 0]]]
    assert label_map(masks, None, background[:, :0]).tolist() == [[[1, 1, 0]]]
