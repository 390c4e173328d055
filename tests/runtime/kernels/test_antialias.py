"""Antialiased preprocessing.

Oracles: the NumPy reference beside the code, within 1e-5 of values of a few units; PyTorch with antialias=True, within
1e-4; closed forms.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.kernels.antialias import reference_resize_normalize, resize_normalize

MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)


@settings(max_examples=150, deadline=None)
@given(
    st.tuples(st.integers(1, 70), st.integers(1, 70)),
    st.tuples(st.integers(1, 70), st.integers(1, 70)),
    st.sampled_from(["bilinear", "bicubic"]),
    st.integers(1, 3),
)
def test_equals_the_reference(frame_size, size, interpolation, threads):
    frame = np.random.default_rng(0).integers(0, 256, (*frame_size, 3), np.uint8)
    settings_ = {"mean": MEAN, "std": STD, "interpolation": interpolation}
    actual = resize_normalize(frame, size, threads=threads, **settings_)
    assert actual.shape == (1, 3, *size)
    np.testing.assert_allclose(actual, reference_resize_normalize(frame, size, **settings_), atol=1e-5)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("frame_size", "size"), [((270, 480), (112, 112)), ((100, 37), (224, 224)), ((333, 500), (48, 300))]
)
def test_equals_torch(frame_size, size, interpolation):
    torch = pytest.importorskip("torch")
    frame = np.random.default_rng(0).integers(0, 256, (*frame_size, 3), np.uint8)
    image = torch.from_numpy(frame[..., ::-1].transpose(2, 0, 1).copy())[None] / 255
    small = torch.nn.functional.interpolate(image, size=size, mode=interpolation, antialias=True)
    expected = (small - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    actual = resize_normalize(frame, size, mean=MEAN, std=STD, interpolation=interpolation)
    np.testing.assert_allclose(actual, expected, atol=1e-4)


def test_same_size_only_normalises_and_reverses_channels():
    frame = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    expected = (frame[..., ::-1] / 255 - MEAN) / STD
    np.testing.assert_allclose(
        resize_normalize(frame, (20, 30), mean=MEAN, std=STD)[0], expected.transpose(2, 0, 1), atol=1e-5
    )


def test_unusual_layouts_and_given_outputs():
    frame = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    expected = resize_normalize(frame, (16, 17), mean=MEAN, std=STD)
    padded = np.zeros((40, 80, 3), np.uint8)
    padded[:, 10:70] = frame
    for view in (padded[:, 10:70], np.asfortranarray(frame), frame[::-1].copy()[::-1], frame[:, ::-1].copy()[:, ::-1]):
        view.flags.writeable = False
        out = np.full_like(expected, np.nan)
        assert resize_normalize(view, (16, 17), mean=MEAN, std=STD, out=out) is out
        np.testing.assert_array_equal(out, expected)


FRAME = np.zeros((4, 5, 3), np.uint8)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"frame": FRAME.astype(float)}, TypeError, "frame: float64 array given, expected a uint8 array"),
        ({"frame": FRAME[0]}, ValueError, r"frame of shape \(5, 3\) given, expected \(H, W, 3\)"),
        ({"frame": FRAME[:0]}, ValueError, "with sides of 1 to 65535"),
        ({"size": (0, 3)}, ValueError, "expected a height and a width of 1 to 65535"),
        ({"size": (3,)}, ValueError, r"size \(3,\) given, expected \(height, width\)"),
        ({"mean": (0, 0)}, ValueError, "expected three finite numbers each"),
        ({"std": (1, 0, 1)}, ValueError, "std not 0"),
        ({"interpolation": "nearest"}, ValueError, "interpolation 'nearest' given"),
        ({"threads": 0}, ValueError, "threads 0 given"),
        ({"out": np.zeros((1, 3, 2, 3), np.float32)}, ValueError, r"expected \(1, 3, 3, 3\) float32"),
    ],
)
def test_wrong_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        resize_normalize(**{"frame": FRAME, "size": (3, 3), "mean": MEAN, "std": STD, **arguments})
