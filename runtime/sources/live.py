"""The newest picture of something that never waits: a camera, a network stream, a robot's topic.

A thread reads, so that who is slow never sees old pictures. Another watches it: what sends nothing for too long is
closed and opened again, at growing intervals with some chance in them, for as long as it takes.
"""

import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Protocol

import numpy as np

from runtime.errors import SourceError
from runtime.frame import BGR
from runtime.rate import Rate
from runtime.sources.address import redacted
from runtime.sources.source import Frame, Source, Stamp, State


@dataclass(frozen=True, eq=False)
class Picture:
    """What a camera sent.

    Attributes:
        image: BGR (H,W,3) uint8, nobody else's memory.
        stamp: what the sender says about it.
        broken: how many came before it, since the last one, that could not be decoded.
    """

    image: BGR
    stamp: Stamp | None = None
    broken: int = 0


class Capture(Protocol):
    """An open connection to something that sends pictures.

    Attributes:
        fps: pictures per second that it announces, None if it does not.
    """

    fps: float | None

    def read(self) -> Picture | None:
        """Wait for the next picture; None when it has ended well and there is nothing to come back to.

        Raises:
            SourceError: it is lost.
        """

    def close(self) -> None:
        """Let go, also while another thread waits in `read`, which then returns or raises; again does nothing."""


@dataclass(frozen=True)
class Patience:
    """How long to wait for what, in seconds.

    A stall is noticed within 2 s, and the first attempt to open it again begins within 1 s after that.

    Attributes:
        stale: for a picture, before the one before no longer counts as live.
        lost: for a picture, before the connection is given up; four times the usual interval where that is longer, and
            twice as long each time where one is lost soon after its first picture: a camera may be slow.
        first: for the first picture of a connection: an encoder may be between key frames.
        retry: until it is opened again for the first time; then twice as long each time, and up to as much again.
        longest: between two attempts.
    """

    stale: float = 1.5
    lost: float = 2.0
    first: float = 15.0
    retry: float = 0.25
    longest: float = 20.0


PATIENCE = Patience()


FEW = 5
"""Pictures, whose rhythm says less than what is announced: a server may send all that it has in store at first."""


class _Connection:
    """One attempt: opened and read by a thread of its own, which may hang for ever without keeping anyone."""

    def __init__(self, name: str, connect: Callable[[], Capture], arrived: Callable[[Picture], None]) -> None:
        self.capture: Capture | None = None
        self.error: SourceError | None = None
        self.pictures = 0
        self.begun_s = self.last_s = monotonic()
        self.done = threading.Event()
        self._connect, self._arrived = connect, arrived
        self._given_up = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def interval_s(self) -> float:
        """Seconds from picture to picture: on average, or as announced as long as there are few."""
        measured_s = (self.last_s - self.begun_s) / max(self.pictures - 1, 1)
        return max(measured_s, 1 / self.fps) if self.fps and self.pictures < FEW else measured_s

    @property
    def fps(self) -> float | None:
        """Pictures per second as announced, None if that means nothing."""
        rate = None if self.capture is None else self.capture.fps
        return rate if rate is not None and 0 < rate <= 1000 else None  # NaN, too, is no rate

    def _run(self) -> None:
        try:
            self.capture = self._connect()
            while not self._given_up and (picture := self.capture.read()) is not None:
                if self._given_up:
                    return
                self.last_s = monotonic()
                if self.pictures == 0:
                    self.begun_s = self.last_s
                self.pictures += 1
                self._arrived(picture)
        except SourceError as error:
            self.error = error
        except Exception as error:
            self.error = SourceError(f"{self._thread.name} cannot be read ({redacted(repr(error))})")
        finally:
            try:
                self._close()
            finally:
                self.done.set()

    def give_up(self) -> None:
        """Let go without waiting: closing, too, may hang."""
        self._given_up = True
        if not self.done.is_set():
            threading.Thread(target=self._close, name=f"{self._thread.name}, closing", daemon=True).start()

    def _close(self) -> None:
        if self.capture is not None:
            self.capture.close()

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)


MOST_HANGING = 4
"""Connections that nothing can end, before no further one is opened: each has a thread and what the system gave it."""

CLOSING_S = 2.0
"""How long whoever closes a source waits for the camera to let go."""


class LiveSource(Source):
    """The newest picture of a capture that is opened again whenever it is lost.

    Args:
        name: in messages; holds no password.
        connect: opens the capture; called from a thread, at each attempt.
        patience: how long to wait for what.
        wait: for the first picture, and fail if it does not come; otherwise the source is `reconnecting` until it does.
        unpredictable: between 0 and 1, so that many that were lost together do not come back at the same moment.

    Raises:
        SourceError: with `wait`, there was no first picture.
    """

    live = True
    ends = False

    def __init__(
        self,
        name: str,
        connect: Callable[[], Capture],
        *,
        patience: Patience = PATIENCE,
        wait: bool = True,
        unpredictable: Callable[[], float] = random.random,
    ) -> None:
        super().__init__()
        self.name = name
        self._connect = connect
        self._patience = patience
        self._unpredictable = unpredictable
        self._changed = threading.Condition()
        self._newest: tuple[Picture, float] | None = None
        self._seen: tuple[BGR, float] | None = None  # a picture, and since when there has been no other
        self._state: State = "reconnecting"
        self._last_s: float | None = None
        self._arrivals = Rate()
        self._stopping = self._came_before = False
        self._hasty = 0  # connections in a row that were lost to silence soon after their first picture
        self._error: SourceError | None = None
        self._hanging: list[_Connection] = []
        self._connection = self._open()
        self._watcher = threading.Thread(target=self._watch, name=f"{name}, watched", daemon=True)
        if wait:
            self._wait_for_first()
        self._watcher.start()

    def _open(self) -> _Connection:
        return _Connection(self.name, self._connect, self._arrived)

    def _arrived(self, picture: Picture) -> None:
        now_s = monotonic()
        seen = self._seen
        if seen is None or not _same(picture.image, seen[0]):
            self._seen = picture.image, now_s
        with self._changed:
            self.dropped += self._newest is not None
            self.broken += picture.broken
            self._newest = picture, now_s
            self._last_s = now_s
            self._arrivals.add(now_s)
            self._state = "live"
            self._changed.notify_all()

    def _wait_for_first(self) -> None:
        connection = self._connection
        deadline_s = connection.begun_s + self._patience.first
        while connection.pictures == 0:
            ended = connection.done.wait(0.02)
            if connection.pictures:
                break
            if ended or monotonic() > deadline_s or self._stopping:
                error = connection.error if ended else None  # letting go of it is an error, too
                connection.give_up()
                self._stopping = True
                raise error or SourceError(
                    f"{self.name} "
                    + ("ended before its first picture" if ended else f"sent no picture in {self._patience.first:g} s")
                    + ": is it switched on, and sending?"
                )
        self.fps = connection.fps

    def _watch(self) -> None:
        """Notice what no longer sends, and open it again."""
        failures = 0
        while not self._stopping:
            connection = self._connection
            connection.done.wait(0.05)
            if connection.pictures:
                self.fps = connection.fps
                self.reconnects += failures > 0 and self._came_before
                self._came_before, failures = True, 0
            if not self._is_lost(connection):
                continue
            if connection.done.is_set() and connection.error is None and connection.pictures:
                self._set_state("ended")
                return
            if connection.pictures and not connection.done.is_set():
                short = connection.last_s - connection.begun_s < self._patience.lost
                self._hasty = self._hasty + 1 if short else 0
            self._error = connection.error
            self._set_state("reconnecting")
            connection.give_up()
            failures += 1
            self._pause(self._delay_s(failures))
            self._hanging = [hung for hung in [*self._hanging, connection] if not hung.done.is_set()]
            if len(self._hanging) > MOST_HANGING:
                self._error = SourceError(
                    f"{self.name} hangs, and so did {MOST_HANGING} attempts before, which the system does not end: "
                    "start the program again"
                )
                self._set_state("failed")
                return
            if not self._stopping:
                self._connection = self._open()

    def _is_lost(self, connection: _Connection) -> bool:
        """Whether a connection is over; on the way there, the source goes stale."""
        if connection.done.is_set():
            return True
        if connection.pictures == 0:
            return monotonic() - connection.begun_s > self._patience.first
        with self._changed:  # or a picture that comes now would be followed by `stale`
            silent_s = monotonic() - connection.last_s
            if silent_s > max(self._patience.stale, 3 * connection.interval_s):
                self._state = "stale"
                self._changed.notify_all()
        waited_s = min(
            self._patience.lost * 2.0 ** min(self._hasty, 30), max(self._patience.first, self._patience.lost)
        )
        return silent_s > max(waited_s, 4 * connection.interval_s)

    def _delay_s(self, failures: int) -> float:
        """Pace the attempts: twice as long each time, and up to as much again by chance."""
        paced = min(self._patience.retry * 2.0 ** min(failures - 1, 30), self._patience.longest)
        return paced * (1 + self._unpredictable())

    def _pause(self, seconds: float) -> None:
        end_s = monotonic() + seconds
        while not self._stopping and (left_s := end_s - monotonic()) > 0:
            sleep(min(left_s, 0.1))

    def _set_state(self, state: State) -> None:
        with self._changed:
            self._state = state
            self._changed.notify_all()

    @property
    def state(self) -> State:
        """Tell how the camera is."""
        return self._state

    @property
    def age_s(self) -> float | None:
        """Seconds since the last picture came; None before the first."""
        return None if self._last_s is None else monotonic() - self._last_s

    @property
    def unchanged_s(self) -> float | None:
        """Seconds for which the same picture has come again and again; None before the first.

        A sensor is never without noise: an encoder that hangs behind a server that does not, repeats its last picture.
        What is drawn, or so dark and compressed that nothing is left, does so, too: it is told, and not judged.
        """
        seen, last_s = self._seen, self._last_s
        return None if seen is None or last_s is None else max(last_s - seen[1], 0.0)

    @property
    def arriving_fps(self) -> float | None:
        """Pictures that came in the last seconds, per second."""
        return self._arrivals.per_second(monotonic())

    @property
    def problem(self) -> str | None:
        """Say why it was lost, or could not be opened again, the last time."""
        return None if self._error is None else str(self._error)

    def stop(self) -> None:
        """End the iteration, also one that waits."""
        self._stopping = True
        with self._changed:
            self._changed.notify_all()

    def frames(self, tick_s: float) -> Iterator[Frame | None]:
        """Yield the newest picture each time, and None after `tick_s` seconds without a new one.

        Raises:
            SourceError: nothing can bring it back.
        """
        begin_s: float | None = None
        index = 0
        while not self._stopping:
            with self._changed:
                if self._newest is None and self._state not in ("ended", "failed") and not self._stopping:
                    self._changed.wait(tick_s)
                newest, self._newest = self._newest, None
                state = self._state
            if newest is not None:
                picture, arrived_s = newest
                begin_s = arrived_s if begin_s is None else begin_s
                yield Frame(
                    picture.image,
                    index,
                    arrived_s - begin_s,
                    f"{index:06d}",
                    arrived_s=arrived_s,
                    stamp=picture.stamp,
                )
                index += 1
            elif state == "ended":
                return
            elif state == "failed":
                raise self._error or SourceError(f"{self.name} failed")
            else:
                yield None

    def __iter__(self) -> Iterator[Frame]:
        """Yield the newest picture each time.

        Raises:
            SourceError: nothing can bring it back.
        """
        return (frame for frame in self.frames(0.1) if frame is not None)

    def close(self) -> None:
        """Stop reading and let the camera go; a driver that hangs is left to its thread."""
        self.stop()
        if self._watcher.is_alive():  # first, as it may be about to open another connection
            self._watcher.join(CLOSING_S)
        self._connection.give_up()
        self._connection.join(CLOSING_S)


def _same(one: BGR, other: BGR) -> bool:
    """Compare two pictures; those that differ usually do so where it is looked first."""
    coarse = np.s_[:: max(len(one) // 32, 1), :: max(one.shape[1] // 32, 1)]
    return one.shape == other.shape and np.array_equal(one[coarse], other[coarse]) and np.array_equal(one, other)
