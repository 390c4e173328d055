"""How much the server takes from whom."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic


@dataclass(frozen=True)
class Limits:
    """What the server bears.

    Attributes:
        viewers: that watch at the same time, all sources together.
        connections: open at the same time.
        body_bytes: of a request.
        changes_per_s: changes of words, over a longer time.
        changes_at_once: changes of words that may come together.
        heartbeat_s: after which a viewer is told the state although there is no new frame.
        dead_s: after which a viewer that takes nothing, or acknowledges nothing, is dropped.
        request_s: in which a request has to arrive.
        idle_s: for which a connection is kept without a further request: whoever left without a word has one, too.
    """

    viewers: int = 100
    connections: int = 400
    body_bytes: int = 64 * 1024
    changes_per_s: float = 5.0
    changes_at_once: int = 20
    heartbeat_s: float = 0.5
    dead_s: float = 10.0
    request_s: float = 10.0
    idle_s: float = 30.0


class Viewers:
    """Counts who watches.

    Args:
        most: at the same time.
    """

    def __init__(self, most: int) -> None:
        self.most, self.count = most, 0

    @property
    def full(self) -> bool:
        """Whether nobody else may watch now."""
        return self.count >= self.most

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """Count a viewer for the time of a `with` block."""
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1


class Deadline:
    """Cuts a connection that keeps one waiting. To begin and to end a wait costs next to nothing.

    Args:
        seconds: that a wait may take.
        cut: called when one took longer.
    """

    def __init__(self, seconds: float, cut: Callable[[], None]) -> None:
        self._seconds, self._cut = seconds, cut
        self._loop = asyncio.get_running_loop()
        self._end_s: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Begin to wait."""
        self._end_s = self._loop.time() + self._seconds
        if self._timer is None:
            self._timer = self._loop.call_at(self._end_s, self._look)

    def end(self) -> None:
        """Wait no more."""
        self._end_s = None

    def close(self) -> None:
        """Cut nothing any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = None
        if self._end_s is not None and self._end_s > self._loop.time():  # of a later wait
            self._timer = self._loop.call_at(self._end_s, self._look)
        elif self._end_s is not None:
            self._cut()


class Rate:
    """Lets so many through, and then as many as time allows (a token bucket).

    Args:
        per_second: over a longer time.
        at_once: that may come together.
        clock: seconds.
    """

    def __init__(self, per_second: float, at_once: int, clock: Callable[[], float] = monotonic) -> None:
        self._per_second, self._most, self._clock = per_second, float(at_once), clock
        self._left, self._seen_s = self._most, clock()

    def allows(self) -> bool:
        """Count one, and tell whether it may pass."""
        now_s = self._clock()
        self._left = min(self._left + (now_s - self._seen_s) * self._per_second, self._most)
        self._seen_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True
