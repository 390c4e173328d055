"""What a new engine must have in common with ONNX Runtime. Oracles: masks made by hand, a loop over cells."""

import cv2
import numpy as np
import pytest

from runtime.bundle import Bundle, GraphSpec
from runtime.engines import FakeEngine
from runtime.engines.check import TOLERANCES, Comparison, compare, require_agreement, sample_inputs
from runtime.engines.onnx import OnnxRuntimeEngine
from runtime.engines.profile import segmenter_profile
from runtime.errors import EngineError
from runtime.frame import Preprocessor
from runtime.sources.open import SHIPPED_CLIP

SPEC = GraphSpec(
    file="g.onnx",
    precision="fp32",
    opset=20,
    inputs={"image": ("batch", 3, "height", "width"), "text": ("words", 4)},
    outputs={"masks": ("batch", "words", "mask_height", "mask_width")},
)


def compared(given: np.ndarray, expected: np.ndarray) -> Comparison:
    """Compare an engine that always gives masks (B,N,h,w) with one that should have given them."""
    batch, words = expected.shape[:2]
    inputs = {"image": np.zeros((batch, 3, 8, 8), np.float32), "text": np.zeros((words, 4), np.float32)}
    return compare(FakeEngine(lambda _: given, SPEC), FakeEngine(lambda _: expected, SPEC), inputs)


def test_the_share_of_equal_labels_is_counted_without_ties() -> None:
    """Oracle: a loop; a word counts as equal if its mask in the reference is hardly below the best."""
    random = np.random.default_rng(0)
    expected = random.random((2, 5, 7, 9), np.float32)
    expected[0, 0, 0, 0], expected[0, 1, 0, 0] = 0, 1  # the range
    given = (expected + random.normal(0, 0.05, expected.shape)).astype(np.float32)
    equal = []
    for b in range(2):
        for y in range(7):
            for x in range(9):
                word = max(range(5), key=lambda k: given[b, k, y, x])
                equal.append(expected[b, word, y, x] >= expected[b, :, y, x].max() - 0.02 * np.ptp(expected))
    comparison = compared(given, expected)
    assert comparison.label_agreement == pytest.approx(np.mean(equal))
    assert 0.5 < comparison.label_agreement < 1
    assert comparison.mean_error == pytest.approx(np.abs(given - expected).mean())


def test_a_single_word_is_held_to_its_masks(tiny: Bundle) -> None:
    """All labels are equal whatever the engine does."""
    expected = np.random.default_rng(0).random((1, 1, 8, 8), np.float32)
    comparison = compared(np.zeros_like(expected), expected)
    assert comparison.label_agreement == 1
    with pytest.raises(EngineError, match="masks differ by 0.5"):
        require_agreement(comparison, tiny.manifest.segmenter)


def test_what_is_wrong_is_refused(tiny: Bundle) -> None:
    spec = tiny.manifest.segmenter
    good = TOLERANCES["fp32"]
    require_agreement(Comparison(good.mean_error, good.label_agreement), spec)
    for comparison in (
        Comparison(0.0, 0.99),
        Comparison(0.02, 1.0),
        Comparison(float("nan"), 1.0),
        Comparison(0.0, float("nan")),
    ):
        with pytest.raises(
            EngineError, match=r"\(fp32\) has .* in common with ONNX Runtime \(at least 99\.5%\).*not kept"
        ):
            require_agreement(comparison, spec)
    require_agreement(Comparison(0.0, 0.99), spec.model_copy(update={"precision": "int8"}))
    one_class = np.zeros((1, 3, 8, 8), np.float32)
    one_class[:, 1] = 1
    pictures = np.random.default_rng(0).random((1, 3, 8, 8), np.float32)
    assert compared(one_class, pictures).label_agreement < 0.5
    for masks, message in (
        (np.full_like(pictures, np.nan), r"0\.0% of them finite"),
        (pictures[:, :, :2], r"\(1, 3, 2, 8\)"),
    ):
        with pytest.raises(EngineError, match=message):
            compared(masks, pictures)


def test_inputs_are_a_frame_of_the_clip_and_the_words_of_the_bundle(tiny: Bundle) -> None:
    """Oracle: the clip decoded here; the reference agrees with itself on them, and sees several words."""
    profile = segmenter_profile(tiny.manifest.input, words=64)
    inputs = sample_inputs(tiny, tiny.manifest.input, profile)
    capture = cv2.VideoCapture(str(SHIPPED_CLIP))
    frames = [capture.read()[1] for _ in range(85)]
    assert np.array_equal(inputs["image"], Preprocessor(tiny.manifest.input)(frames[84]))
    least, _, most = profile.shapes(tiny.manifest.segmenter)["image"]
    assert all(low <= size <= high for low, size, high in zip(least, inputs["image"].shape, most, strict=True))
    assert len(sample_inputs(tiny, tiny.manifest.input, segmenter_profile(tiny.manifest.input, words=2))["text"]) == 2
    spec = tiny.manifest.segmenter
    with OnnxRuntimeEngine(tiny.read(spec.file), spec) as reference:
        assert compare(reference, reference, inputs) == Comparison(0.0, 1.0)
        assert len(np.unique(reference.infer(inputs)["masks"].argmax(1))) > 1
