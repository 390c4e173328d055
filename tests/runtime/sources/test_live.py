"""The live source itself. Oracle: a capture that the test drives."""

import itertools
import math
import queue
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import pytest

from runtime.errors import SourceError
from runtime.sources.live import MOST_HANGING, PATIENCE, LiveSource, Patience, Picture
from runtime.sources.source import Stamp

QUICK = Patience(stale=0.1, lost=0.2, first=5.0, retry=0.01, longest=0.2)

HANG, END = "hang", "end"


class Driven:
    """Gives what the test puts into `coming`: a number is a picture of it, HANG waits until `let_go`, END ends well.

    With an error it is lost.
    """

    def __init__(self, *first: object, fps: float | None = None) -> None:
        self.fps = fps
        self.coming: queue.SimpleQueue[object] = queue.SimpleQueue()
        for what in first:
            self.coming.put(what)
        self.hanging = threading.Event()
        self.let_go = threading.Event()
        self.closed = 0

    def read(self) -> Picture | None:
        while not self.closed:
            try:
                what = self.coming.get(timeout=0.005)
            except queue.Empty:
                continue
            if what == HANG:
                self.hanging.set()
                self.let_go.wait(20)
            elif what == END:
                return None
            elif isinstance(what, Exception):
                raise what
            elif isinstance(what, Picture):
                return what
            else:
                return Picture(np.full((2, 3, 3), what, np.uint8))
        raise SourceError("closed")

    def close(self) -> None:
        self.closed += 1


class Camera:
    """Opens the captures of a list, the last again and again; an error in it is one of opening."""

    def __init__(self, *captures: Driven | SourceError) -> None:
        self.captures = captures
        self.opened_s: list[float] = []

    def __call__(self) -> Driven:
        capture = self.captures[min(len(self.opened_s), len(self.captures) - 1)]
        self.opened_s.append(monotonic())
        if isinstance(capture, SourceError):
            raise capture
        return capture


def until(true: Callable[[], object], seconds: float = 10) -> bool:
    deadline_s = monotonic() + seconds
    while not true() and monotonic() < deadline_s:
        sleep(0.002)
    return bool(true())


def numbers(frames: Iterator[object], count: int) -> list[int]:
    return [int(frame.image[0, 0, 0]) for frame in itertools.islice((f for f in frames if f is not None), count)]  # type: ignore[attr-defined]


def test_the_newest_picture_is_given_and_the_others_are_counted() -> None:
    camera = Driven(1, fps=30.0)
    with LiveSource("a", Camera(camera), patience=QUICK) as source:
        frames = source.frames(0.05)
        assert numbers(frames, 1) == [1]
        for number in (2, 3, 4):
            camera.coming.put(number)
        assert until(lambda: source.dropped == 2)
        frame = next(frames)
        assert frame is not None
        assert (frame.image[0, 0].tolist(), frame.index, frame.name) == ([4, 4, 4], 1, "000001")
        assert frame.arrived_s is not None
        assert frame.arrived_s <= monotonic()
        assert frame.time_s > 0
        assert (source.fps, source.live, source.ends, source.dropped, source.reconnects) == (30.0, True, False, 2, 0)
        assert next(frames) is None  # there is no other, and nobody waits for ever


def test_what_a_picture_says_of_itself_is_carried_on() -> None:
    stamp = Stamp(17, "front")
    camera = Driven(
        Picture(np.zeros((2, 2, 3), np.uint8), stamp, broken=2), Picture(np.zeros((4, 2, 3), np.uint8), broken=1)
    )
    with LiveSource("a", Camera(camera), patience=QUICK) as source:
        assert until(lambda: source.broken == 3)
        assert source.dropped == 1
        camera.coming.put(Picture(np.zeros((2, 2, 3), np.uint8), stamp))
        assert until(lambda: source.dropped == 2)
        assert next(iter(source)).stamp == stamp


def test_what_stops_sending_is_stale_then_opened_again_and_live() -> None:
    first, second = Driven(1), Driven()
    with LiveSource("a", Camera(first, second), patience=QUICK) as source:
        states = ["live"]
        deadline_s = monotonic() + 10
        while source.state != "reconnecting" and monotonic() < deadline_s:
            states += [source.state] if source.state != states[-1] else []
        assert states in (["live", "stale"], ["live", "stale", "reconnecting"])
        assert source.age_s is not None
        assert source.age_s >= QUICK.lost
        assert until(lambda: first.closed)
        second.coming.put(2)
        assert until(lambda: source.state == "live")
        assert until(lambda: source.reconnects == 1)
        assert source.age_s < QUICK.lost
        assert numbers(source.frames(0.05), 1) == [2]  # the one before was nobody's any more


def test_the_promise_of_the_usual_patience() -> None:
    """A stall is noticed within 2 s and the first attempt begins within 1 s after that."""
    assert PATIENCE.stale < PATIENCE.lost <= 2
    assert PATIENCE.retry * 2 <= 1


def test_no_first_picture_is_an_error_in_time() -> None:
    camera = Driven()
    with pytest.raises(SourceError, match=r"a sent no picture in 0\.1 s: is it switched on"):
        LiveSource("a", Camera(camera), patience=Patience(first=0.1))
    assert until(lambda: camera.closed)
    with pytest.raises(SourceError, match="a ended before its first picture"):
        LiveSource("a", Camera(Driven(END)), patience=QUICK)
    with pytest.raises(SourceError, match="^not there$"):
        LiveSource("a", Camera(SourceError("not there")), patience=QUICK)


def test_without_waiting_it_comes_when_it_is_there() -> None:
    camera = Camera(SourceError("not there"), SourceError("not there"), Driven(1))
    with LiveSource("a", camera, patience=QUICK, wait=False) as source:
        assert (source.state, source.age_s) == ("reconnecting", None)
        assert numbers(source.frames(0.05), 1) == [1]
        assert until(lambda: source.state == "live")
        assert str(source.problem) == "not there"


@pytest.mark.parametrize("chance", [0.0, 1.0])
def test_attempts_come_at_growing_intervals_with_some_chance_in_them(chance: float) -> None:
    patience = Patience(stale=0.1, lost=0.2, first=1.0, retry=0.05, longest=0.2)
    camera = Camera(SourceError("not there"))
    with LiveSource("a", camera, patience=patience, wait=False, unpredictable=lambda: chance):
        assert until(lambda: len(camera.opened_s) >= 5)
    intervals = [later - sooner for sooner, later in itertools.pairwise(camera.opened_s[:5])]
    expected = [0.05, 0.1, 0.2, 0.2]
    for interval, least in zip(intervals, expected, strict=True):
        assert (1 + chance) * least <= interval < (1 + chance) * least + 0.5  # on a machine that has other things to do


def test_a_camera_that_came_back_is_opened_again_as_soon_as_at_first() -> None:
    """The second loss waits no longer than the first did."""
    patience = Patience(stale=1, lost=2, first=5, retry=0.05, longest=30)
    lost = [SourceError("not there")] * 4
    camera = Camera(Driven(1, SourceError("lost")), *lost, Driven(2, SourceError("lost")), Driven(3))
    with LiveSource("a", camera, patience=patience, unpredictable=lambda: 0.0) as source:
        assert until(lambda: len(camera.opened_s) == 7)
        assert camera.opened_s[6] - camera.opened_s[5] < 0.5 < camera.opened_s[5] - camera.opened_s[4]
        assert until(lambda: source.reconnects == 2)


def test_what_hangs_for_ever_is_bounded_and_ends_in_failure() -> None:
    captures = [Driven(1, HANG), *(Driven(HANG) for _ in range(MOST_HANGING + 3))]
    patience = Patience(stale=0.02, lost=0.04, first=0.06, retry=0.001, longest=0.002)
    before = threading.active_count()
    camera = Camera(*captures)
    source = LiveSource("a", camera, patience=patience)
    assert until(lambda: source.state == "failed")
    with pytest.raises(SourceError, match="a hangs, and so did 4 attempts before, .*start the program again"):
        list(source)
    assert len(camera.opened_s) == MOST_HANGING + 1
    for capture in captures:
        capture.let_go.set()
    source.close()
    assert until(lambda: threading.active_count() == before)
    assert all(capture.closed for capture in captures[: MOST_HANGING + 1])


@pytest.mark.parametrize("fps", [None, 4.0])
def test_a_slow_rhythm_is_learned(fps: float | None) -> None:
    """Pictures every quarter of a second, where a tenth would be stale and 0.15 s the end of the connection."""
    slow = Driven(fps=fps)
    camera = Camera(slow)
    patience = Patience(stale=0.1, lost=0.15, first=5, retry=0.01)
    stop = threading.Event()

    def send() -> None:
        while not stop.wait(0.25):
            slow.closed = 0  # it is opened again
            slow.coming.put(1)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        with LiveSource("a", camera, patience=patience) as source:
            assert until(lambda: source._connection.pictures == 4)
            opened = len(camera.opened_s)
            for _ in range(50):
                assert source.state == "live"
                sleep(0.01)
            assert len(camera.opened_s) == opened
            assert opened <= (4 if fps is None else 1)
    finally:
        stop.set()
        sender.join()


def test_the_end_is_the_end() -> None:
    camera = Camera(Driven(1, END))
    with LiveSource("a", camera, patience=QUICK) as source:
        assert numbers(iter(source), 5) == [1]
        assert source.state == "ended"
        sleep(0.05)
        assert len(camera.opened_s) == 1


def test_a_fault_of_ours_in_a_capture_is_no_end() -> None:
    camera = Camera(Driven(1, ZeroDivisionError("of rtsp://eve:secret@cam/")), Driven(2))
    with LiveSource("a", camera, patience=QUICK) as source:
        assert until(lambda: source.reconnects == 1)
        assert "a cannot be read (ZeroDivisionError('of rtsp://***@cam/'))" in str(source.problem)


def test_stop_ends_who_waits() -> None:
    camera = Driven(1)
    with LiveSource("a", Camera(camera), patience=Patience(stale=20, lost=30)) as source:
        frames = source.frames(10)
        assert next(frames) is not None
        threading.Timer(0.05, source.stop).start()
        begin_s = monotonic()
        assert [frame for frame in frames if frame is not None] == []
        assert monotonic() - begin_s < 5


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    class OfFile(Driven):
        def __init__(self) -> None:
            super().__init__(1)
            self.file = (tmp_path / "a").open("w")

        def close(self) -> None:
            super().close()
            self.file.close()

    threads, files = threading.active_count(), len(list(Path("/dev/fd").iterdir()))
    for _ in range(5):
        with LiveSource("a", OfFile, patience=QUICK) as source:
            assert next(iter(source)) is not None
        source.close()  # again does nothing
    assert until(lambda: threading.active_count() == threads)
    assert len(list(Path("/dev/fd").iterdir())) == files


def test_a_camera_that_hangs_while_it_is_closed_keeps_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.sources.live.CLOSING_S", 0.1)
    camera = Driven(1, HANG)
    source = LiveSource("a", Camera(camera), patience=Patience(stale=20, lost=30))
    assert camera.hanging.wait(5)
    begin_s = monotonic()
    source.close()
    assert monotonic() - begin_s < 5
    assert not camera.let_go.is_set()
    camera.let_go.set()


def test_a_picture_that_is_repeated_is_told() -> None:
    """Also after it was lost, and not where a single pixel differs."""
    first, second = Driven(1), Driven()
    with LiveSource("a", Camera(first, second), patience=QUICK) as source:
        assert source.unchanged_s == 0
        sleep(0.02)
        first.coming.put(1)
        assert until(lambda: source.unchanged_s)
        before_s = source.unchanged_s
        assert before_s is not None
        assert 0.02 <= before_s < 10
        first.coming.put(SourceError("lost"))
        second.coming.put(1)
        assert until(lambda: source.unchanged_s != before_s)
        assert (source.unchanged_s or 0) > before_s
        large = np.full((100, 100, 3), 1, np.uint8)
        for number in range(3):
            large = large.copy()
            large[1, 2, 2] = number  # where it is not looked first
            sleep(0.02)
            second.coming.put(Picture(large))
            assert until(lambda number=number: source.dropped == 3 + number)
            assert source.unchanged_s == 0


def test_pictures_that_nobody_fetches_are_let_go() -> None:
    """Oracle: how many of 500 pictures there still are while the consumer is at its first."""
    camera, alive = Driven(), []
    with LiveSource("a", Camera(camera), patience=QUICK, wait=False) as source:
        for number in range(500):
            image = np.full((2, 3, 3), number % 256, np.uint8)
            alive.append(weakref.ref(image))
            camera.coming.put(Picture(image))
            del image
        assert until(lambda: source.dropped == 499)
        assert until(lambda: sum(picture() is not None for picture in alive) <= 2)
        assert numbers(source.frames(0.05), 1) == [499 % 256]


@pytest.mark.parametrize("fps", [math.nan, math.inf, -25.0, 0.0, 90_000.0, 1.0])
def test_a_rate_that_is_announced_and_wrong_is_not_believed(fps: float) -> None:
    """Pictures come every 30 ms. What is no rate is none; what is too slow is corrected by the pictures."""
    camera = Driven(0, fps=fps)
    with LiveSource("a", Camera(camera), patience=QUICK) as source:
        assert source.fps == (1.0 if fps == 1.0 else None)
        for number in range(1, 10):
            sleep(0.03)
            camera.coming.put(number)
        assert until(lambda: source._connection.pictures == 10)
        assert source.state == "live"
        last_s = monotonic()
        assert until(lambda: source.state != "live", 5)
        assert monotonic() - last_s < 2  # three intervals of the announced rate would be 3 s


def test_one_that_is_dead_does_not_slow_another() -> None:
    dead = LiveSource("dead", Camera(Driven(1, HANG)), patience=QUICK)
    alive = Driven(0)
    with dead, LiveSource("alive", Camera(alive), patience=Patience(stale=5, lost=9)) as source:
        frames = source.frames(0.5)
        took_s = []
        for number in range(1, 40):
            next(frames)
            sent_s = monotonic()
            alive.coming.put(number)
            assert until(lambda: source._newest is not None)
            took_s.append(monotonic() - sent_s)
        assert sorted(took_s)[len(took_s) // 2] < 0.05
        assert source.dropped == 0
        assert until(lambda: dead.state != "live")
