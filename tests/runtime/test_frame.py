"""Pictures of any kind become the network's input. Oracles: arithmetic per pixel, torch's area interpolation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.bundle import InputSpec
from runtime.errors import EngineError, FrameError
from runtime.frame import Preprocessor, as_bgr, input_size, resized

SPEC = InputSpec(
    size=64,
    multiple_of=32,
    mean=(0.4, 0.5, 0.6),
    std=(0.2, 0.25, 0.3),
    interpolation="bilinear",
)


def test_grey_bgra_and_16_bit_pictures_become_bgr() -> None:
    grey = np.array([[0, 255], [7, 9]], np.uint8)
    assert np.array_equal(as_bgr(grey), np.stack([grey] * 3, axis=-1))
    assert np.array_equal(as_bgr(grey[..., None]), np.stack([grey] * 3, axis=-1))
    bgra = np.arange(16, dtype=np.uint8).reshape(2, 2, 4)
    assert np.array_equal(as_bgr(bgra), bgra[..., :3])
    deep = np.array([[0, 65_535], [256, 255]], np.uint16)
    assert np.array_equal(as_bgr(deep)[..., 0], [[0, 255], [1, 0]])


def test_bgr_is_not_copied() -> None:
    frame = np.zeros((4, 5, 3), np.uint8)
    assert np.shares_memory(as_bgr(frame), frame)


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((2, 2, 3), np.float32),
        np.zeros((2, 2, 2), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((1, 2, 2, 3), np.uint8),
        np.zeros((0, 5, 3), np.uint8),
        np.zeros((40_000, 1), np.uint8),
        "frame.png",
    ],
)
def test_what_is_no_picture_is_refused(frame: object) -> None:
    with pytest.raises(FrameError, match=r"given, expected|is a NumPy array, not str"):
        as_bgr(frame)


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_the_input_keeps_the_frame_s_shape_and_the_cost(height: int, width: int) -> None:
    """Oracle: the definition. Multiples of the step; about size x size pixels; ratio within half a step a side."""
    spec = SPEC.model_copy(update={"size": 448})
    h, w = input_size((height, width), spec)
    assert h % 32 == w % 32 == 0
    assert min(h, w) >= 32
    if 1 / 3 <= height / width <= 3:
        assert 0.85 <= h * w / 448**2 <= 1.15
        ideal = 448 * (height / width) ** 0.5
        assert abs(h - ideal) <= 16 + 1e-6


def test_a_fixed_input_stays_fixed() -> None:
    assert input_size((1080, 1920), SPEC.model_copy(update={"size": (224, 320)})) == (224, 320)


@pytest.mark.parametrize("antialias", [False, True])
def test_normalisation_and_channel_order(antialias: bool) -> None:
    """Oracle: the formula, pixel by pixel, on a frame that needs no resizing."""
    frame = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    image = Preprocessor(SPEC.model_copy(update={"antialias": antialias}))(frame)
    expected = (frame[..., ::-1] / 255 - np.array(SPEC.mean)) / np.array(SPEC.std)
    assert image.dtype == np.float32
    np.testing.assert_allclose(image[0], expected.transpose(2, 0, 1), atol=1e-5)


def test_the_network_size_may_change_where_the_bundle_leaves_it_free() -> None:
    assert resized(SPEC, None) is SPEC
    assert resized(SPEC, 96) == SPEC.model_copy(update={"size": 96})
    for size in (31, 4097):
        with pytest.raises(EngineError, match=f"network size {size} given, expected 32 to 4096 pixels"):
            resized(SPEC, size)
    with pytest.raises(EngineError, match="was exported for 64 x 96 pixels only: leave the size out"):
        resized(SPEC.model_copy(update={"size": (64, 96)}), 64)


@pytest.mark.parametrize("antialias", [False, True])
def test_an_image_is_not_overwritten_by_the_next(antialias: bool) -> None:
    prepare = Preprocessor(SPEC.model_copy(update={"antialias": antialias}))
    black, white = (np.full((80, 80, 3), value, np.uint8) for value in (0, 255))
    image = prepare(black)
    expected = image.copy()
    assert not np.array_equal(prepare(white), expected)
    assert np.array_equal(image, expected)


@pytest.mark.parametrize(
    ("interpolation", "antialias", "tolerance"),
    [("bilinear", False, 1.0), ("bicubic", False, 1.5), ("bilinear", True, 1e-3)],
)
def test_resizing_is_torch_s(interpolation: str, antialias: bool, tolerance: float) -> None:
    """Oracle: torch.nn.functional.interpolate; tolerance in grey values, since OpenCV rounds to 8 bits."""
    torch = pytest.importorskip("torch")
    frame = np.random.default_rng(1).integers(0, 256, (192, 192, 3), np.uint8)
    plain = {"interpolation": interpolation, "antialias": antialias, "mean": (0, 0, 0), "std": (1, 1, 1)}
    image = Preprocessor(SPEC.model_copy(update=plain))(frame)[0] * 255
    tensor = torch.from_numpy(frame[..., ::-1].copy()).permute(2, 0, 1)[None].double()
    expected = torch.nn.functional.interpolate(tensor, (64, 64), mode=interpolation, antialias=antialias)
    assert np.abs(image - expected[0].clamp(0, 255).numpy()).max() <= tolerance
