"""The engine for tests. Oracles: its own documented example, what a real engine refuses."""

import textwrap

import numpy as np
import pytest

import runtime.engines.fake
from runtime import Bundle, FakeEngine, Segmenter, open_engine
from runtime.errors import EngineError


def inputs(batch: int = 1, words: int = 2, **changes: np.ndarray) -> dict[str, np.ndarray]:
    rows = np.eye(words, 256, dtype=np.float32)
    return {"image": np.zeros((batch, 3, 32, 64), np.float32), "text": rows, **changes}


def test_the_example_runs() -> None:
    (example,) = (part for part in runtime.engines.fake.__doc__.split("\n\n") if "FakeEngine(" in part)
    exec(textwrap.dedent(example), {"np": np, "Bundle": Bundle, "FakeEngine": FakeEngine, "Segmenter": Segmenter})


def test_given_masks_are_repeated_for_every_picture_and_belong_to_the_caller(tiny: Bundle) -> None:
    masks = np.random.default_rng(0).random((2, 4, 5), np.float32)
    before = masks.copy()
    engine = FakeEngine(masks, tiny.manifest.segmenter)
    for batch in (1, 3):
        answer = engine.infer(inputs(batch))["masks"]
        assert answer.shape == (batch, 2, 4, 5)
        assert all(np.array_equal(of_picture, before) for of_picture in answer)
        answer[:] = 7
    masks[:] = 9
    assert np.array_equal(engine.infer(inputs())["masks"][0], before)


def test_a_function_sees_the_picture_and_the_words(tiny: Bundle) -> None:
    """Oracle: the frame's own columns, through preprocessing, engine and upsampling."""

    def bright_and_dark(given: dict[str, np.ndarray]) -> np.ndarray:
        assert given["text"].shape == (2, 256)
        bright = given["image"].mean(axis=1) > 0
        return np.stack([bright, ~bright], axis=1).astype(np.float32)

    frame = np.zeros((64, 64, 3), np.uint8)
    frame[:, 32:] = 255
    engine = FakeEngine(bright_and_dark, tiny.manifest.segmenter)
    with Segmenter(tiny, "day, night", background=None, size=64, refine="none", engine=engine) as segmenter:
        assert np.array_equal(segmenter(frame).mask, np.where(frame[..., 0] > 0, 0, 1))


@pytest.mark.parametrize(
    "given",
    [
        {"image": inputs()["image"]},
        {**inputs(), "size": np.zeros(2, np.float32)},
        inputs(text=np.eye(2, 255, dtype=np.float32)),
        inputs(text=np.zeros((0, 256), np.float32)),
        inputs(image=np.zeros((3, 32, 64), np.float32)),
        inputs(image=np.zeros((1, 3, 32, 64), np.float64)),
    ],
)
def test_it_refuses_what_a_real_engine_refuses(given: dict[str, np.ndarray], tiny: Bundle) -> None:
    engine = FakeEngine(np.zeros((2, 4, 5)), tiny.manifest.segmenter)
    with open_engine(tiny, threads=1) as real:
        for opened in (real, engine):
            with pytest.raises(EngineError):
                opened.infer(given)
            assert opened.infer(inputs())["masks"].shape[:2] == (1, 2)


def test_answers_that_no_graph_gives_are_refused(tiny: Bundle) -> None:
    spec = tiny.manifest.segmenter
    with pytest.raises(EngineError, match=r"masks of shape \(1, 3, 4, 5\), expected \(1, 2, h, w\)"):
        FakeEngine(np.zeros((3, 4, 5)), spec).infer(inputs())
    with pytest.raises(EngineError, match=r"masks of shape \(2, 4, 5\), expected \(1, 2, h, w\)"):
        FakeEngine(lambda given: np.zeros((2, 4, 5), np.float32), spec).infer(inputs())
    with pytest.raises(EngineError, match=r"masks of shape \(1, 2, 4, 5\), expected \(2, 2, h, w\)"):
        FakeEngine(lambda given: np.zeros((1, 2, 4, 5), np.float32), spec).infer(inputs(batch=2))


def test_it_takes_no_more_words_than_it_says_and_none_once_it_is_closed(tiny: Bundle) -> None:
    with FakeEngine(np.zeros((2, 4, 5)), tiny.manifest.segmenter, most_words=2) as engine:
        assert engine.most_words == 2
        engine.infer(inputs())
        with pytest.raises(EngineError, match="at most 2 rows of text, got 3"):
            engine.infer(inputs(words=3))
    engine.close()
    with pytest.raises(EngineError, match=r"the engine of segmenter\.onnx is closed"):
        engine.infer(inputs())
