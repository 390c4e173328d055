"""The frames of a source, fetched while the one before is still worked on."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from threading import Condition, Thread
from time import monotonic, perf_counter

from runtime.sources.source import Frame, Source

LEAVING_S = 1.0
"""How long a source that is being left may take over the frame that it is at; a pipe may never send another."""


@dataclass(frozen=True, eq=False)
class Fetched:
    """A frame, and how it came.

    Attributes:
        frame: the frame.
        begin_s: when work on it began, or a live picture came in (`time.perf_counter`). The time that it lay here ready
            is left out, as if it had been fetched just now.
        took_ms: milliseconds that fetching took, or that a live picture waited.
    """

    frame: Frame
    begin_s: float
    took_ms: float


class Feed:
    """Iterates over a source: `Fetched`, or None whenever there was nothing for a while.

    Args:
        source: closed with the feed.
        tick_s: seconds after which None is given.
        ahead: fetch the next frame in a thread while the one before is worked on. A live source does so by itself.
    """

    def __init__(self, source: Source, *, tick_s: float, ahead: bool) -> None:
        self._source, self._tick_s = source, tick_s
        self._frames = source.frames(tick_s)
        self._reader = _Ahead(self._frames) if ahead and not source.live else None

    def __iter__(self) -> Iterator[Fetched | None]:
        return self

    def __next__(self) -> Fetched | None:
        """Fetch a frame.

        Raises:
            StopIteration: there are no more.
            SourceError: see `Source`.
        """
        if self._reader is not None:
            return self._reader.fetch(self._tick_s)
        return _fetch(self._frames)

    def close(self) -> None:
        """Close the source, unless it hangs: then it ends with the process."""
        if self._reader is None or self._reader.end():
            self._source.close()


def _fetch(frames: Iterator[Frame | None]) -> Fetched | None:
    begin_s = perf_counter()
    frame = next(frames)
    if frame is None:
        return None
    if frame.arrived_s is not None:
        begin_s = perf_counter() - (monotonic() - frame.arrived_s)
    return Fetched(frame, begin_s, 1000 * (perf_counter() - begin_s))


class _Ahead:
    def __init__(self, frames: Iterator[Frame | None]) -> None:
        self._frames = frames
        self._changed = Condition()
        self._next: Fetched | None = None
        self._end: BaseException | None = None
        self._leaving = False
        self._thread = Thread(target=self._run, name="feed", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._next is None or self._leaving)
                if self._leaving:
                    return
            try:
                fetched = _fetch(self._frames)
            except BaseException as end:  # also that there are no more
                with self._changed:
                    self._end = end
                    self._changed.notify_all()
                return
            with self._changed:
                self._next = fetched
                self._changed.notify_all()

    def fetch(self, timeout_s: float) -> Fetched | None:
        with self._changed:
            self._changed.wait_for(lambda: self._next is not None or self._end is not None, timeout_s)
            fetched, self._next = self._next, None
            self._changed.notify_all()
        if fetched is None:
            if self._end is not None:
                raise self._end
            return None
        return replace(fetched, begin_s=perf_counter() - fetched.took_ms / 1000)

    def end(self) -> bool:
        """Let the thread end, and tell whether it does."""
        with self._changed:
            self._leaving = True
            self._changed.notify_all()
        self._thread.join(LEAVING_S)
        return not self._thread.is_alive()
