"""One segmenter in several threads. Oracle: the same frames in one thread, equal to the last bit."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from runtime import Bundle, FakeEngine, Segmenter
from runtime.segmentation import Segmentation
from runtime.sources.open import open_source
from runtime.temporal import Temporal

THREADS = 4
LISTS = (["car", "road"], ["car", "dog", "tree", "sky", "road|asphalt"])


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    """Of two sizes, some of which the network sees in the same one."""
    clip = [frame.image for frame in open_source("test://cars")][40::40]
    small = [cv2.resize(image, (160, 90)) for image in clip]
    return [*small, *(image[:, ::-1] for image in small), cv2.resize(clip[0], (90, 90))]


def content(result: Segmentation) -> tuple[bytes, ...]:
    return result.mask.tobytes(), result.soft_masks.tobytes(), result.plot().tobytes(), result.colours.tobytes()


def test_each_thread_gets_what_it_would_get_alone_while_words_change(tiny: Bundle, frames: list[np.ndarray]) -> None:
    """The words of a result are the old ones or the new: its masks, names and colours are those of one list."""
    with Segmenter(tiny, LISTS[0], size=96) as segmenter:
        expected = {}
        for words in LISTS:
            segmenter.set_classes(words)
            for number, frame in enumerate(frames):
                result = segmenter(frame, overlay=True)
                expected[number, result.names] = content(result)
        ended = threading.Event()

        def change() -> None:
            turn = 0
            while not ended.is_set():
                segmenter.set_classes(LISTS[turn % 2])
                turn += 1

        def segment(call: int) -> tuple[str, ...]:
            number = call % len(frames)
            result = segmenter(frames[number], overlay=True)
            assert content(result) == expected[number, result.names]
            return result.names

        changer = threading.Thread(target=change)
        changer.start()
        try:
            with ThreadPoolExecutor(THREADS) as pool:
                seen = set(pool.map(segment, range(40 * len(frames))))
        finally:
            ended.set()
            changer.join()
    assert seen == {names for _, names in expected}


def test_threads_do_not_wait_for_each_other(tiny: Bundle) -> None:
    """Both are inside the engine before either of them looks at its picture."""
    inside = threading.Barrier(2, timeout=30)

    def bright_or_dark(inputs: dict[str, np.ndarray]) -> np.ndarray:
        inside.wait()
        bright = inputs["image"][:, 0] > 0
        return np.stack([bright, ~bright], axis=1).astype(np.float32)

    engine = FakeEngine(bright_or_dark, tiny.manifest.segmenter)
    pictures = [np.full((40, 60, 3), value, np.uint8) for value in (0, 255)]
    with (
        Segmenter(tiny, "day, night", background=None, refine="none", engine=engine) as segmenter,
        ThreadPoolExecutor(2) as pool,
    ):
        night, day = pool.map(segmenter, pictures)
    assert (day.mask == 0).all()
    assert (night.mask == 1).all()


@pytest.fixture
def counting() -> tuple[list[float], Callable[[dict[str, np.ndarray]], np.ndarray]]:
    """Values answered so far, and what answers a mask of the next value, slowly enough for others to come between."""
    answers: list[float] = []
    entered = threading.Lock()

    def answer(inputs: dict[str, np.ndarray]) -> np.ndarray:
        assert entered.acquire(blocking=False), "two frames of one stream in the network at the same time"
        time.sleep(0.002)
        answers.append(float(len(answers)))
        entered.release()
        return np.full((1, 1, 2, 2), answers[-1], np.float32)

    return answers, answer


def test_with_a_memory_threads_take_turns(tiny: Bundle, counting) -> None:
    """Oracle: the recursion over the answers in their order; each frame of whatever thread is one step of it."""
    answers, answer = counting
    engine = FakeEngine(answer, tiny.manifest.segmenter)
    temporal = Temporal(weight=0.5, is_cut=lambda _: False)
    frame = np.zeros((40, 60, 3), np.uint8)
    with (
        Segmenter(tiny, "car", background=None, refine="none", temporal=temporal, engine=engine) as segmenter,
        ThreadPoolExecutor(THREADS) as pool,
    ):
        given = list(pool.map(lambda _: float(segmenter(frame).soft_masks[0, 0, 0]), range(40)))
    averages = [answers[0]]
    for value in answers[1:]:
        averages.append(float(np.float32(0.5) * np.float32(averages[-1]) + np.float32(0.5) * np.float32(value)))
    assert sorted(given) == averages


def test_with_key_frames_threads_share_them(tiny: Bundle, counting) -> None:
    """Oracle: of 40 frames every fourth goes through the network, whoever brings it."""
    answers, answer = counting
    engine = FakeEngine(answer, tiny.manifest.segmenter)
    temporal = Temporal(keyframe=4, is_cut=lambda _: False)
    frame = np.zeros((40, 60, 3), np.uint8)
    with (
        Segmenter(tiny, "car", background=None, refine="none", temporal=temporal, engine=engine) as segmenter,
        ThreadPoolExecutor(THREADS) as pool,
    ):
        given = list(pool.map(lambda _: float(segmenter(frame).soft_masks[0, 0, 0]), range(40)))
    assert len(answers) == 10
    assert sorted(given) == sorted(4 * answers)
