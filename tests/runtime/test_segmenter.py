"""A frame becomes a segmentation. Oracles: the parts applied by hand, identities that must hold."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime import KEPT, Bundle, FakeEngine, Segmenter, open_engine
from runtime.engines.onnx import OnnxRuntimeEngine
from runtime.errors import BundleError, EngineError, EngineOptionError, FrameError, SinkError, VocabularyError
from runtime.frame import Preprocessor
from runtime.kernels.reference import reference_upsample_argmax
from runtime.sources.open import open_source
from runtime.temporal import Temporal


@pytest.fixture(scope="module")
def frame() -> np.ndarray:
    """Frame 84 of the shipped clip: two cars side by side."""
    return [f.image for f in open_source("test://cars")][84]


def test_it_is_the_parts_one_after_the_other(tiny: Bundle, segmenter: Segmenter, frame: np.ndarray) -> None:
    """Oracle: preprocessing, engine and the NumPy reference of the upsampling, by hand."""
    result = segmenter(frame)
    manifest = tiny.manifest
    with OnnxRuntimeEngine(tiny.read(manifest.segmenter.file), manifest.segmenter) as engine:
        rows = segmenter._words.vocabulary.embeddings
        masks = engine.infer({"image": Preprocessor(manifest.input)(frame), "text": rows})["masks"][0]
    background = len(segmenter._words.vocabulary.background)
    assert background > 0
    threshold = manifest.background.threshold or 0
    words = masks[background:]
    merged = np.stack([np.maximum(masks[:background].max(axis=0), threshold), words[0], words[1:].max(axis=0)])
    assert np.array_equal(result.mask, reference_upsample_argmax(merged, frame.shape[:2]).labels)
    assert result.names == ("background", "car", "road")
    assert set(result.speed) == {"pre", "infer", "post"}


def test_the_cars_are_found(tiny: Bundle, frame: np.ndarray) -> None:
    """Oracle: boxes drawn by hand, inside the two cars and on the bare ground; as the bundle ships."""
    with Segmenter(tiny, classes="car, road|ground|asphalt") as segmenter:
        mask = segmenter(frame).mask
    assert (mask[110:280, 130:225] == 1).mean() > 0.95
    assert (mask[180:390, 345:460] == 1).mean() > 0.95
    assert (mask[60:400, 660:760] != 1).mean() > 0.95


def test_other_words_give_other_masks(frame: np.ndarray) -> None:
    with Segmenter("tiny", classes="car, asphalt", background=None) as segmenter:
        before = segmenter(frame)
        segmenter.set_classes("wheel, sky, tree", background=None)
        after = segmenter(frame)
    assert before.names == ("car", "asphalt")
    assert after.names == ("wheel", "sky", "tree")
    assert not np.array_equal(before.mask, after.mask)


@pytest.mark.parametrize("nothing", [None, "none", " None "])
def test_no_background_can_be_said_in_words_and_stays(nothing: str | None, tiny: Bundle) -> None:
    with Segmenter(tiny, "car", background=nothing) as segmenter:
        assert segmenter.names == ("car",)
        segmenter.set_classes("cat, dog")
        assert segmenter.names == ("cat", "dog")
        segmenter.set_classes("cat", background="default")
        assert segmenter.names == ("background", "cat")
        segmenter.set_classes("cat", background=nothing)
        segmenter.set_classes(None)
        assert segmenter.names[0] != "background"


def test_what_was_said_about_the_background_stays_until_it_is_said_anew(tiny: Bundle) -> None:
    """Oracle: written out, call by call; None of the arguments is as in a new segmenter."""

    def now() -> tuple[tuple[str, ...], float | None]:
        return segmenter._words.vocabulary.background, segmenter._words.vocabulary.threshold

    own = tiny.manifest.background
    with Segmenter(tiny, "car", background=iter(["wall", "sky"]), threshold=0.5) as segmenter:
        segmenter.set_classes("cat")
        assert now() == (("wall", "sky"), 0.5)
        segmenter.set_classes("cat", threshold=0.4)
        assert now() == (("wall", "sky"), 0.4)
        segmenter.set_classes("background|floor, cat", background="default")
        assert now() == (("floor",), 0.4)
        segmenter.set_classes("zebra")  # words of a class last as long as the class
        assert now() == (own.words, 0.4)
        segmenter.set_classes("zebra", background="wall", threshold=None)
        assert now() == (("wall",), own.threshold)
        with pytest.raises(VocabularyError, match="'wall' is given twice"):
            segmenter.set_classes("wall", threshold=0.1)
        segmenter.set_classes("cat")
        assert now() == (("wall",), own.threshold)
        segmenter.set_classes("cat", threshold=0.2)
        segmenter.set_classes("cat", background=None)
        assert now() == ((), None)
        segmenter.set_classes("cat", background=KEPT, threshold=0.2)
        assert now() == ((), 0.2)


def test_refused_words_leave_the_old_ones(segmenter: Segmenter) -> None:
    before = segmenter.names
    for classes in ("", "cat, cat", "🐕", "y" * 10_000):
        with pytest.raises(VocabularyError):
            segmenter.set_classes(classes)
    assert segmenter.names == before


def test_default_background_words_that_mean_the_same_as_a_class_do_not_compete(tiny: Bundle) -> None:
    """Oracle: the cosines of the bundle's own text encoder."""
    default = tiny.manifest.background.words
    with Segmenter(tiny, classes=[default[0], "asphalt"]) as segmenter:
        kept = segmenter._words.vocabulary.background
        rows = segmenter._words.vocabulary.rows
    assert default[0] not in kept
    assert "road" in default
    assert "road" not in kept
    assert 10 < len(kept) < len(default)
    assert max(float(rows[word] @ rows[phrase]) for word in kept for phrase in (default[0], "asphalt")) < 0.9
    with Segmenter(tiny, classes="asphalt", background="road") as segmenter:
        assert segmenter._words.vocabulary.background == ("road",)


def test_a_background_by_threshold_only(tiny: Bundle, frame: np.ndarray) -> None:
    """Oracle: with the highest threshold everything is background, with the lowest nothing."""
    with Segmenter(tiny, classes="car, asphalt", background="", threshold=1.0) as segmenter:
        assert segmenter.names[0] == "background"
        assert (segmenter(frame).mask == 0).all()
        segmenter.set_classes("car, asphalt", background="", threshold=0.0)
        assert (segmenter(frame).mask > 0).all()


@pytest.mark.parametrize("refine", ["none", "edge"])
@pytest.mark.parametrize("overlay", [False, True])
@pytest.mark.parametrize("general", [None, 0.3])
@pytest.mark.parametrize("background", ["", "wall"])
def test_a_word_takes_part_only_above_its_own_threshold(
    background: str, general: float | None, overlay: bool, refine: str, tiny: Bundle
) -> None:
    """Oracle: a loop over the pixels of a frame as large as the mask grid, where upsampling changes nothing."""
    height, width, words = 12, 17, bool(background)
    masks = np.random.default_rng(3).random((words + 4, height, width), np.float32)
    masks[-1, 0] = 0.9  # exactly its threshold
    frame = np.full((height, width, 3), 90, np.uint8)
    engine = FakeEngine(masks, tiny.manifest.segmenter)
    classes, settings = "cat:0.8, sofa|couch, cup:0.9", {"background": background, "threshold": general}
    with Segmenter(tiny, classes, **settings, refine=refine, engine=engine) as segmenter:
        result = segmenter(frame, overlay=overlay)
    limits = [0.8, general if general is not None else tiny.manifest.background.threshold, 0.9]
    for y in range(height):
        for x in range(width):
            cat, sofa, couch, cup = map(float, masks[words:, y, x])
            best, expected = (float(masks[0, y, x]) if words else 0.0), 0
            for index, (value, limit) in enumerate(zip((cat, max(sofa, couch), cup), limits, strict=True), start=1):
                if np.float32(value) > np.float32(limit) and value > best:
                    best, expected = value, index
            assert result.mask[y, x] == expected
            assert result.confidence[y, x] == int(255 * best + 0.5)
    assert {0, 1, 2, 3} == set(np.unique(result.mask))
    assert result.names == ("background", "cat", "sofa", "cup")
    painted = (result.plot(legend=False, outline=False) != frame).any(axis=2)
    assert np.array_equal(painted, result.mask > 0)


def test_pamr_leaves_a_word_that_another_exceeds_where_that_one_takes_no_part(tiny: Bundle) -> None:
    masks = np.stack([np.full((8, 8), 0.7, np.float32), np.full((8, 8), 0.6, np.float32)])
    engine = FakeEngine(masks, tiny.manifest.segmenter)
    with Segmenter(tiny, "cat:0.8, dog", background="", threshold=0.5, refine="pamr", engine=engine) as segmenter:
        assert (segmenter(np.zeros((64, 64, 3), np.uint8)).mask == 2).all()


def test_more_words_than_the_engine_takes_are_refused_and_the_old_ones_stay(tiny: Bundle) -> None:
    engine = FakeEngine(one_mask_a_word, tiny.manifest.segmenter, most_words=4)
    with pytest.raises(VocabularyError, match="5 words given"):
        Segmenter(tiny, "cat, dog, tree", background="wall, sky", engine=engine)
    with Segmenter(tiny, "cat", background="wall, sky", engine=engine) as segmenter:
        segmenter.set_classes("cat, dog", background="wall, sky")
        with pytest.raises(
            VocabularyError, match="5 words given, .* at most 4: `python -m runtime engine .* --words 5`"
        ):
            segmenter.set_classes("cat, dog|puppy", background="wall, sky")
        assert segmenter.names == ("background", "cat", "dog")


def one_mask_a_word(inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Masks (1,N,2,2) whose values are the means of the rows of text."""
    means = inputs["text"].mean(axis=1)
    return np.broadcast_to(means[None, :, None, None], (1, len(means), 2, 2)).copy()


def test_an_engine_that_is_passed_in_is_shared_and_stays_open(tiny: Bundle, frame: np.ndarray) -> None:
    """Oracle: segmenters with an engine each."""
    results = []
    with (
        open_engine(tiny) as engine,
        Segmenter(tiny, "car", refine="none", engine=engine) as first,
        Segmenter(tiny, "tree, road", size=128, refine="none", engine=engine) as second,
    ):
        first.close()
        results += [first(frame), second(frame)]
    with Segmenter(tiny, "car", refine="none") as one, Segmenter(tiny, "tree, road", size=128, refine="none") as other:
        for result, expected in zip(results, (one(frame), other(frame)), strict=True):
            assert result.names == expected.names
            np.testing.assert_array_equal(result.soft_masks, expected.soft_masks)
    for closed in (first, one):
        with pytest.raises(EngineError, match=r"the engine of segmenter\.onnx is closed"):
            closed(frame)
    one.close()


def test_an_engine_has_its_provider_already(tiny: Bundle) -> None:
    engine = FakeEngine(one_mask_a_word, tiny.manifest.segmenter)
    with pytest.raises(EngineError, match="provider 'cuda' and an engine given, which has its own: leave one"):
        Segmenter(tiny, "car", provider="cuda", engine=engine)


def test_a_result_can_be_looked_at(segmenter: Segmenter, frame: np.ndarray, tmp_path: Path) -> None:
    result = segmenter(frame)
    fused = segmenter(frame, overlay=True)
    assert np.array_equal(result.mask, fused.mask)
    assert np.array_equal(result.plot(), fused.plot())
    assert np.array_equal(result.plot(legend=False, outline=False)[result.mask == 0], frame[result.mask == 0])
    assert not np.array_equal(result.plot(alpha=1.0), result.plot())
    assert sum(result.coverage().values()) == pytest.approx(1)
    assert result.confidence.shape == result.mask.shape
    assert result.confidence.dtype == np.uint8
    result.save(tmp_path / "deep" / "o.png")
    assert np.array_equal(cv2.imread(str(tmp_path / "deep" / "o.png")), result.plot())
    with pytest.raises(SinkError, match="cannot be written as a picture"):
        result.save(tmp_path / "o.txt")


def test_any_picture_is_segmented(segmenter: Segmenter, frame: np.ndarray) -> None:
    grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
    bgra = cv2.cvtColor(frame, cv2.COLOR_BGR2BGRA)
    read_only = frame.copy()
    read_only.flags.writeable = False
    wide = np.zeros((432, 2000, 3), np.uint8)
    wide[:, ::2][:, :768] = frame
    for given in (frame, bgra, read_only, wide[:, ::2][:, :768], frame.astype(np.uint16) << 8):
        assert np.array_equal(segmenter(given).mask, segmenter(frame).mask)
    assert segmenter(grey).mask.shape == grey.shape
    assert segmenter(frame[::-1, ::-1]).mask.shape == grey.shape
    expected = segmenter(frame, overlay=True)
    for given in (bgra, wide[:, ::2][:, :768], np.asfortranarray(frame)):
        assert np.array_equal(segmenter(given, overlay=True).plot(), expected.plot())
    for size in ((1, 1), (1, 500), (500, 1), (2, 3)):
        assert segmenter(np.zeros((*size, 3), np.uint8), overlay=True).mask.shape == size
    with pytest.raises(FrameError, match=r"float64 given"):
        segmenter(frame / 255)


def test_three_hundred_words_need_16_bits(tiny: Bundle, frame: np.ndarray) -> None:
    words = [f"{colour} {number} car" for colour in ("red", "blue", "green") for number in range(100)]
    with Segmenter(tiny, classes=words, size=128) as segmenter:
        result = segmenter(frame)
    assert result.mask.dtype == np.uint16
    assert len(result.names) == 301


def test_the_network_size_can_be_chosen(tiny: Bundle, frame: np.ndarray) -> None:
    with Segmenter(tiny, classes="car", size=128, refine="none") as segmenter:
        rows, columns = segmenter(frame).soft_masks.shape[1:]
        assert rows * columns == pytest.approx((128 / tiny.manifest.output.stride) ** 2, rel=0.2)
    with pytest.raises(EngineError, match="network size 3 given"):
        Segmenter(tiny, size=3)


@pytest.mark.parametrize(("refine", "gain"), [("edge", 1.5), ("pamr", 2.0)])
def test_refined_masks_follow_the_frame_better(refine: str, gain: float, tiny: Bundle, segmenter: Segmenter) -> None:
    """Oracle: at the borders of refined masks frames change more than at those of plain ones (3.1 and 3.4 times)."""
    frames = [f.image for f in open_source("test://cars")][::12]

    def step_at_borders(segment: Segmenter) -> float:
        steps = []
        for frame in frames:
            grey, mask = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY).astype(int), segment(frame).mask
            steps.append(np.abs(grey[:, 4:] - grey[:, :-4])[mask[:, 4:] != mask[:, :-4]])
        return float(np.concatenate(steps).mean())

    with Segmenter(tiny, classes="car, road|ground|asphalt", refine=refine) as refined:
        result = refined(frames[7], overlay=True)
        assert np.array_equal(result.plot(), refined(frames[7]).plot())
        assert step_at_borders(refined) > gain * step_at_borders(segmenter)
    with pytest.raises(EngineError, match="refinement 'crf' given, expected one of none, edge, pamr"):
        Segmenter(tiny, refine="crf")


@pytest.mark.parametrize("refine", ["none", "edge"])
def test_a_result_is_written_over_one_that_is_no_longer_needed(refine: str, tiny: Bundle, frame: np.ndarray) -> None:
    """Oracle: the same without `reuse`; the arrays are the same ones where they fit."""
    with Segmenter(tiny, classes="car, asphalt", refine=refine, size=128) as segmenter:
        first = segmenter(frame[:, ::-1], overlay=True)
        expected = segmenter(frame, overlay=True)
        again = segmenter(frame, overlay=True, reuse=first)
        assert again.mask is first.mask
        assert again.blended is first.blended
        assert np.array_equal(again.mask, expected.mask)
        assert np.array_equal(again.plot(), expected.plot())
        canvas = np.empty_like(frame)
        assert again.plot(out=canvas) is canvas
        assert np.array_equal(canvas, expected.plot())
        smaller = segmenter(frame[:100], overlay=True, reuse=again)
        assert np.array_equal(smaller.mask, segmenter(frame[:100]).mask)
        plain = segmenter(frame, reuse=segmenter(frame))
        assert np.array_equal(segmenter(frame, overlay=True, reuse=plain).plot(), expected.plot())


def test_masks_may_depend_on_the_frames_before(tiny: Bundle) -> None:
    """Oracle: the recursion on the soft masks of a segmenter without a memory; counted runs of the network."""
    frames = [f.image for f in open_source("test://cars")][80:85]
    with Segmenter(tiny, classes="car", size=128, refine="none") as segmenter:
        alone = [segmenter(image).soft_masks for image in frames]
    with Segmenter(tiny, classes="car", size=128, refine="none", temporal=Temporal(weight=0.75)) as segmenter:
        average = alone[0]
        for image, masks in zip(frames, alone, strict=True):
            average = average if masks is alone[0] else 0.75 * average + 0.25 * masks
            np.testing.assert_allclose(segmenter(image).soft_masks, average, atol=1e-5)
        segmenter.set_classes("wheel")
        with Segmenter(tiny, classes="wheel", size=128, refine="none") as other:
            np.testing.assert_allclose(segmenter(frames[0]).soft_masks, other(frames[0]).soft_masks, atol=1e-5)
    with Segmenter(tiny, classes="car", size=128, temporal=Temporal(keyframe=3), refine="pamr") as segmenter:
        speeds = [segmenter(image, overlay=True).speed for image in frames]
    assert [speed["pre"] > 0 for speed in speeds] == [True, False, False, True, False]


def test_a_stream_begins_without_a_memory(tiny: Bundle) -> None:
    with Segmenter(tiny, classes="car", size=128, temporal=Temporal(weight=0.9)) as segmenter:
        first = segmenter.predict("test://pattern?frames=2&size=64x48")
        again = segmenter.predict("test://pattern?frames=2&size=64x48")
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.soft_masks, b.soft_masks)


def test_sources_and_arrays_are_predicted(segmenter: Segmenter, frame: np.ndarray) -> None:
    (result,) = segmenter.predict(frame)
    assert np.array_equal(result.mask, segmenter(frame).mask)
    stream = segmenter.predict("test://pattern?frames=3&size=64x48", stream=True)
    assert [r.mask.shape for r in stream] == [(48, 64)] * 3


def test_a_damaged_bundle_is_refused_before_anything_runs(bundle_copy: Path) -> None:
    (bundle_copy / "segmenter.onnx").write_bytes(b"")
    with pytest.raises(BundleError):
        Segmenter(bundle_copy)


def test_the_bundle_says_how_masks_are_refined(tiny: Bundle, frame: np.ndarray) -> None:
    """Identity: what the manifest asks for is what is done when nothing is said, and not otherwise."""
    assert tiny.manifest.output.refine == "pamr"
    masks = {}
    for refine in (None, "pamr", "none"):
        with Segmenter(tiny, classes="car, asphalt", size=128, refine=refine) as segmenter:
            masks[refine] = segmenter(frame).mask
    assert np.array_equal(masks[None], masks["pamr"])
    assert not np.array_equal(masks[None], masks["none"])


@pytest.mark.parametrize("threads", [0, -1, 100_000])
def test_threads_are_as_many_as_a_machine_may_have(threads: int) -> None:
    with pytest.raises(EngineOptionError, match=rf"{threads} threads given, expected 1 to 512"):
        Segmenter("tiny", threads=threads)
