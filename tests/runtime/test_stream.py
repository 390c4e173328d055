"""The streaming loop. Oracles: counts, and the order in which a recording sink is called."""

import threading

import numpy as np
import pytest

from runtime.errors import SinkError, SourceError
from runtime.latency import STAGES, Latency
from runtime.segmenter import Segmenter
from runtime.sinks.sink import Sink
from runtime.sources.open import open_source
from runtime.sources.source import Source
from runtime.stream import stream

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


class Closing(Source):
    """A source that yields the pattern, then fails, and remembers whether it was closed."""

    closed = False

    def __iter__(self):
        yield from open_source(PATTERN)
        raise SourceError("unplugged")

    def close(self) -> None:
        self.closed = True


def test_every_frame_reaches_every_sink(segmenter: Segmenter) -> None:
    first, second, latency, calls = Recorder(), Recorder(paints=False), Latency(), []
    complete = stream(
        open_source(PATTERN), segmenter, [first, second], latency=latency, on_result=lambda r, f: calls.append(f.index)
    )
    assert complete
    assert len(first.pictures) == len(second.pictures) == len(latency.frames) == 5
    assert first.closed == second.closed == [True]
    assert calls == [0, 1, 2, 3, 4]
    frame = latency.frames[-1]
    assert set(frame) == set(STAGES)
    assert sum(frame[stage] for stage in STAGES[:-1]) == pytest.approx(frame["end to end"], rel=0.2)


def test_without_a_painting_sink_nothing_is_painted(segmenter: Segmenter) -> None:
    sink = Recorder(paints=False)
    stream(open_source(PATTERN), segmenter, [sink], latency=Latency())
    expected = [frame.image for frame in open_source(PATTERN)]
    assert all(np.array_equal(a, b) for a, b in zip(sink.pictures, expected, strict=True))


def test_memory_is_used_again_and_pictures_are_those_of_their_frames(segmenter: Segmenter) -> None:
    """Oracle: each frame segmented and painted by itself."""
    addresses, results = set(), []

    class Copier(Recorder):
        def write(self, result, frame, picture) -> None:
            addresses.add((result.mask.ctypes.data, result.blended.ctypes.data, picture.ctypes.data))
            results.append((result.mask.copy(), picture.copy()))

    stream(open_source(PATTERN), segmenter, [Copier()], latency=Latency())
    assert len(addresses) == 1
    for frame, (mask, picture) in zip(open_source(PATTERN), results, strict=True):
        alone = segmenter(frame.image, overlay=True)
        assert np.array_equal(mask, alone.mask)
        assert np.array_equal(picture, alone.plot())


def test_a_failing_sink_closes_everything(segmenter: Segmenter) -> None:
    first, second, source = Recorder(), Recorder(fails_at=2), Closing()
    with pytest.raises(SinkError, match="disk full"):
        stream(source, segmenter, [first, second], latency=Latency())
    assert first.closed == second.closed == [False]
    assert source.closed


def test_a_failing_source_keeps_what_was_written(segmenter: Segmenter) -> None:
    sink, source = Recorder(), Closing()
    with pytest.raises(SourceError, match="unplugged"):
        stream(source, segmenter, [sink], latency=Latency())
    assert len(sink.pictures) == 5
    assert sink.closed == [False]
    assert source.closed


@pytest.mark.parametrize(("length", "whole"), [("", True), ("&frames=9", False)], ids=["endless", "with an end"])
def test_it_stops_when_asked(length: str, whole: bool, segmenter: Segmenter) -> None:
    """What has no end is whole whenever it is stopped."""
    sink, stop = Recorder(), threading.Event()
    source = open_source(f"test://pattern?size=64x48{length}")
    stream(source, segmenter, [sink], latency=Latency(), stop=stop, on_result=lambda r, f: f.index == 6 and stop.set())
    assert len(sink.pictures) == 7
    assert sink.closed == [whole]


def test_a_closed_window_ends_the_stream(segmenter: Segmenter) -> None:
    sink = Recorder(finishes_at=1)
    assert not stream(open_source(PATTERN), segmenter, [sink], latency=Latency())
    assert len(sink.pictures) == 2
    assert sink.closed == [False]
