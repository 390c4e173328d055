"""The streaming loop. Oracles: counts, and the order in which a recording sink is called."""

import queue
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from runtime.errors import SinkError, SourceError
from runtime.segmentation import Segmentation
from runtime.segmenter import Segmenter
from runtime.sinks.sink import Sink
from runtime.sources.open import open_source
from runtime.sources.source import Frame, Source
from runtime.stream.latency import STAGES
from runtime.stream.loop import stream
from runtime.stream.monitor import Monitor

PATTERN = "test://pattern?frames=5&size=64x48"


class Recorder(Sink):
    """Keeps what it is given; fails at a frame if told so."""

    def __init__(self, *, paints: bool = True, fails_at: int | None = None, finishes_at: int | None = None) -> None:
        self.paints, self.fails_at, self.finishes_at = paints, fails_at, finishes_at
        self.pictures: list[np.ndarray] = []
        self.closed: list[bool] = []

    def write(self, result, frame, picture) -> None:
        if frame.index == self.fails_at:
            raise SinkError("disk full")
        self.pictures.append(picture)
        self.finished = frame.index == self.finishes_at

    def close(self, *, complete: bool) -> None:
        self.closed.append(complete)


def run(source: Source, segmenter: Segmenter, sinks, **options) -> bool:
    return stream(source, segmenter, sinks, monitor=Monitor(source), **options)


class Closing(Source):
    """A source that yields the pattern, then fails, and remembers whether it was closed."""

    closed = False

    def __iter__(self):
        yield from open_source(PATTERN)
        raise SourceError("unplugged")

    def close(self) -> None:
        self.closed = True


@pytest.fixture(params=[False, True], ids=["in turns", "overlapping"])
def overlap(request: pytest.FixtureRequest) -> bool:
    """Whether fetching, network and sinks work at the same time."""
    return request.param


def test_every_frame_reaches_every_sink(overlap: bool, segmenter: Segmenter) -> None:
    first, second, works, calls = Recorder(), Recorder(paints=False), [], []
    source = open_source(PATTERN)
    monitor = Monitor(source)
    complete = stream(
        source,
        segmenter,
        [first, second],
        monitor=monitor,
        overlap=overlap,
        on_result=lambda r, f: calls.append(f.index),
        on_done=lambda work: works.append((work.frame.index, dict(work.stages_ms))),
    )
    assert complete
    assert len(first.pictures) == len(second.pictures) == monitor.latency.frames == 5
    assert first.closed == second.closed == [True]
    assert calls == [index for index, _ in works] == [0, 1, 2, 3, 4]
    for _, stages in works:
        assert set(stages) == set(STAGES)
        assert sum(stages[stage] for stage in STAGES[:-1]) <= stages["end to end"] * 1.01 + 0.1
    assert sum(stages[stage] for stage in STAGES[:-1]) == pytest.approx(
        stages["end to end"], rel=0.5 if overlap else 0.2
    )


def test_without_a_painting_sink_nothing_is_painted(segmenter: Segmenter) -> None:
    sink = Recorder(paints=False)
    run(open_source(PATTERN), segmenter, [sink])
    expected = [frame.image for frame in open_source(PATTERN)]
    assert all(np.array_equal(a, b) for a, b in zip(sink.pictures, expected, strict=True))


def test_memory_is_used_again_and_pictures_are_those_of_their_frames(overlap: bool, segmenter: Segmenter) -> None:
    """Oracle: each frame segmented and painted by itself."""
    addresses, results = set(), []

    class Copier(Recorder):
        def write(self, result, frame, picture) -> None:
            addresses.add((result.mask.ctypes.data, result.blended.ctypes.data, picture.ctypes.data))
            results.append((result.mask.copy(), picture.copy()))

    pattern = "test://pattern?frames=12&size=64x48"
    run(open_source(pattern), segmenter, [Copier(), Recorder()], overlap=overlap)
    assert len(addresses) <= (3 if overlap else 1)
    for frame, (mask, picture) in zip(open_source(pattern), results, strict=True):
        alone = segmenter(frame.image, overlay=True)
        assert np.array_equal(mask, alone.mask)
        assert np.array_equal(picture, alone.plot())


def test_a_failing_sink_closes_everything(overlap: bool, segmenter: Segmenter) -> None:
    first, second, source = Recorder(), Recorder(fails_at=2), Closing()
    with pytest.raises(SinkError, match="disk full"):
        run(source, segmenter, [first, second], overlap=overlap)
    assert first.closed == second.closed == [False]
    assert source.closed


def test_a_failing_source_keeps_what_was_written(overlap: bool, segmenter: Segmenter) -> None:
    sink, source = Recorder(), Closing()
    with pytest.raises(SourceError, match="unplugged"):
        run(source, segmenter, [sink], overlap=overlap)
    assert len(sink.pictures) == 5
    assert sink.closed == [False]
    assert source.closed


@pytest.mark.parametrize(("length", "whole"), [("", True), ("&frames=9", False)], ids=["endless", "with an end"])
def test_it_stops_when_asked(length: str, whole: bool, overlap: bool, segmenter: Segmenter) -> None:
    """What has no end is whole whenever it is stopped."""
    sink, stop = Recorder(), threading.Event()
    source = open_source(f"test://pattern?size=64x48{length}")
    run(source, segmenter, [sink], overlap=overlap, stop=stop, on_result=lambda r, f: f.index == 6 and stop.set())
    assert len(sink.pictures) == 7
    assert sink.closed == [whole]


def test_a_closed_window_ends_the_stream(segmenter: Segmenter) -> None:
    sink = Recorder(finishes_at=1)
    sink.immediate = True  # as every window
    assert not run(open_source(PATTERN), segmenter, [sink])
    assert len(sink.pictures) == 2
    assert sink.closed == [False]


class Camera(Source):
    """A live source of numbered pictures, a tick between them if told so."""

    live, ends = True, False

    def __init__(self, *, frames: int, age_s: float = 0.0, silent: bool = False) -> None:
        super().__init__()
        self._frames, self._age_s, self._silent = frames, age_s, silent

    def frames(self, tick_s: float) -> Iterator[Frame | None]:
        for index in range(self._frames):
            image = np.full((48, 64, 3), index, np.uint8)
            yield Frame(image, index, index / 10, f"{index:06d}", arrived_s=time.monotonic() - self._age_s)
            if self._silent:
                yield None


def test_a_slow_sink_keeps_neither_a_camera_nor_another_sink_waiting(segmenter: Segmenter) -> None:
    """Oracle: counts. The slow one is at its first frame until all others have got every frame."""

    class Slow(Recorder):
        go_on = threading.Event()

        def write(self, result, frame, picture) -> None:
            assert self.go_on.wait(20)
            super().write(result, frame, picture.copy())

    class Quick(Recorder):
        def write(self, result, frame, picture) -> None:
            super().write(result, frame, picture.copy())
            seen.put(frame.index)

    seen: queue.SimpleQueue[int] = queue.SimpleQueue()
    slow, quick, source = Slow(), Quick(), Camera(frames=8)
    monitor = Monitor(source)

    def wait_until_seen(result: Segmentation, frame: Frame) -> None:
        assert seen.get(timeout=20) == frame.index
        if frame.index == 7:
            slow.go_on.set()

    assert stream(source, segmenter, [slow, quick], monitor=monitor, on_result=wait_until_seen)
    assert [int(picture[0, 0, 0]) for picture in quick.pictures] == [
        int(segmenter(np.full((48, 64, 3), index, np.uint8), overlay=True).plot()[0, 0, 0]) for index in range(8)
    ]
    assert len(slow.pictures) == 1
    assert monitor.lost == monitor.status().dropped == 7
    assert slow.closed == quick.closed == [True]


def test_results_of_a_camera_say_how_old_they_are(segmenter: Segmenter) -> None:
    ages = []
    source = Camera(frames=5, age_s=2.0)
    monitor = Monitor(source)
    stream(source, segmenter, [], monitor=monitor, on_result=lambda result, frame: ages.append(result.age_ms))
    assert all(2000 <= age < 10_000 for age in ages)
    assert 2000 <= monitor.latency.percentiles()["end to end"][0] < 10_000
    assert segmenter(np.zeros((48, 64, 3), np.uint8)).age_ms is None


def test_who_shows_something_is_told_that_nothing_comes(segmenter: Segmenter) -> None:
    class Screen(Recorder):
        immediate = True
        told = 0

        def idle(self, state, age_s) -> None:
            assert state == "live"
            self.told += 1

    screen, frames, source = Screen(), [], Camera(frames=4, silent=True)
    run(source, segmenter, [screen], on_frame=frames.append)
    assert screen.told == 4
    assert [None if frame is None else frame.index for frame in frames] == [0, None, 1, None, 2, None, 3, None]


def test_a_source_that_hangs_is_left(segmenter: Segmenter) -> None:
    """As a pipe that nobody writes into: the signal that ends the program does not wait for a frame."""

    class Hanging(Closing):
        hangs = threading.Event()

        def __iter__(self):
            yield from open_source(PATTERN)
            self.hangs.wait(20)

    source, stop = Hanging(), threading.Event()
    begin = time.monotonic()
    run(source, segmenter, [], overlap=True, stop=stop, on_result=lambda r, f: f.index == 4 and stop.set())
    assert time.monotonic() - begin < 15
    assert not source.closed
    source.hangs.set()
