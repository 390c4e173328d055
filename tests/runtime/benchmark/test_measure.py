"""What a combination of settings costs. Oracles: Python's own quantiles, an engine that sleeps, the settings."""

import statistics
import time

import numpy as np
import pytest

from runtime import Bundle, Engine, FakeEngine
from runtime.benchmark.measure import (
    FRAMES_KEPT,
    PERCENTILES,
    STAGES,
    WARM_UP,
    Measured,
    Plan,
    measure,
    read_frames,
    summary,
    words_for,
)
from runtime.engines.choice import Choice
from runtime.errors import EngineError, EngineOptionError, SourceError, UsageError
from runtime.words.vocabulary import Vocabulary

FRAMES = [np.full((48, 64, 3), grey, np.uint8) for grey in (0, 255)]


class Machines:
    """Opens fake engines, and remembers how."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.opened: list[tuple[str, int | None, int | None]] = []
        self.seen: list[tuple[int, int, int]] = []
        self.engines: list[FakeEngine] = []
        self._seconds = seconds

    def __call__(
        self, bundle: Bundle, *, size: int | None, provider: str, threads: int | None, words: int
    ) -> tuple[Engine, Choice]:
        self.opened.append((provider, threads, size))
        if provider == "cuda":
            raise EngineError("no GPU here")

        def answer(inputs: object) -> np.ndarray:
            image, text = inputs["image"], inputs["text"]
            self.seen.append((image.shape[2], image.shape[3], len(text)))
            assert len(text) <= words
            time.sleep(self._seconds)
            return np.zeros((1, len(text), 3, 4), np.float32)

        self.engines.append(FakeEngine(answer, bundle.manifest.segmenter))
        return self.engines[-1], Choice("cpu", (("cuda", "no GPU here"),))


def measured(tiny: Bundle, plan: Plan, machines: Machines) -> list[Measured]:
    return list(measure(tiny, plan, FRAMES, open_engine=machines))


def test_every_combination_is_measured_on_the_frames_asked_for(tiny: Bundle) -> None:
    plan = Plan(("auto",), (1, 2), (64, None), ("none", None), (2, 12), frames=4)
    machines = Machines()
    advanced: list[None] = []
    rows = list(measure(tiny, plan, FRAMES, advance=lambda: advanced.append(None), open_engine=machines))
    assert [row.case for row in rows] == plan.cases()
    assert len(rows) == 16
    assert len(advanced) == len(machines.seen) == 16 * (WARM_UP + 4)
    assert machines.opened == [("auto", 1, 64), ("auto", 1, None), ("auto", 2, 64), ("auto", 2, None)]
    assert all(engine._closed for engine in machines.engines)
    background = len(Vocabulary.shipped(tiny).background)
    for number, row in enumerate(rows):
        height, width, text = machines.seen[number * (WARM_UP + 4)]
        assert row.size == (height, width)
        assert abs(height * width / (row.case.size or 320) ** 2 - 1) < 0.3
        assert row.rows == text
        assert row.case.words <= text <= row.case.words + background
        assert row.refinement == (row.case.refinement or "pamr")
        assert (row.frames, row.error) == (4, "")
        assert set(row.stages_ms) == set(STAGES)


def test_what_the_network_takes_is_found_in_its_column(tiny: Bundle) -> None:
    """An engine that sleeps a hundredth of a second."""
    (row,) = measured(tiny, Plan(words=(3,), sizes=(64,), refinements=("none",), frames=5), Machines(0.01))
    assert row.stages_ms["infer"][50] >= 10
    assert row.stages_ms["pre"][50] < row.stages_ms["infer"][50]
    assert row.stages_ms["total"][50] >= row.stages_ms["infer"][50]
    assert 0 < row.fps <= 100


def test_percentiles_and_rate() -> None:
    random = np.random.default_rng(0)
    frames = [dict(zip(STAGES, random.exponential(10, len(STAGES)).tolist(), strict=True)) for _ in range(101)]
    stages_ms, fps = summary(frames)
    for stage in STAGES:
        hundredths = statistics.quantiles([frame[stage] for frame in frames], n=100, method="inclusive")
        assert stages_ms[stage] == pytest.approx({p: hundredths[p - 1] for p in PERCENTILES})
    assert fps == pytest.approx(1000 * 101 / sum(frame["total"] for frame in frames))


def test_what_fails_is_told_in_its_place(tiny: Bundle) -> None:
    rows = measured(tiny, Plan(("cuda", "cpu"), words=(2, 3), sizes=(64,), frames=1), Machines())
    assert [(row.case.provider, row.error, row.frames) for row in rows] == [
        ("cuda", "no GPU here", 0),
        ("cuda", "no GPU here", 0),
        ("cpu", "", 1),
        ("cpu", "", 1),
    ]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"providers": ("gpu",)}, EngineOptionError, "provider 'gpu' given, expected one of auto, cpu, cuda, tensorrt"),
        ({"refinements": ("crf",)}, EngineOptionError, "refinement 'crf' given, expected one of"),
        ({"threads": (0,)}, EngineOptionError, r"threads \[0\] given, expected 1 to 512"),
        ({"words": (289,)}, UsageError, "expected 1 to 288"),
        ({"words": (0,)}, UsageError, "expected 1 to 288"),
        ({"frames": 0}, UsageError, "0 frames given"),
    ],
)
def test_what_no_machine_can_do_is_refused_at_once(
    settings: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Plan(**settings)  # type: ignore[arg-type]


def test_a_size_that_the_bundle_does_not_take_is_refused_before_anything_is_measured(tiny: Bundle) -> None:
    machines = Machines()
    with pytest.raises(EngineOptionError, match="network size 3 given"):
        measured(tiny, Plan(sizes=(64, 3)), machines)
    assert machines.opened == []


def test_there_are_enough_words(tiny: Bundle) -> None:
    own = [word.name for word in Vocabulary.shipped(tiny).classes]
    for count in (1, len(own), 288):
        words = words_for(tiny, count)
        assert len(set(words)) == count
        assert words[: len(own)] == own[:count]


def test_frames_are_the_first_of_the_source() -> None:
    frames = read_frames("test://pattern", 100)
    assert len(frames) == FRAMES_KEPT
    assert not np.array_equal(frames[0], frames[1])
    assert len(read_frames("test://pattern?size=32x24", 2)) == 2
    with pytest.raises(SourceError, match="has no frames"):
        read_frames("test://pattern?frames=0", 3)
