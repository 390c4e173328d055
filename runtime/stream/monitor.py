"""Watches a stream: what it did, how long that took, and how its source is."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Lock
from time import monotonic

from runtime.rate import Rate
from runtime.sensors import Reading
from runtime.sources.source import Source, State
from runtime.stream.latency import Latency
from runtime.stream.status import Status

HANGS_S = 10.0
"""A frame that is worked on for longer, and for three times as long as any before, does not come: a GPU that hangs."""


class Monitor:
    """Collects what a stream does. May be asked from other threads at any time.

    Args:
        source: of the stream.
        sensors: read whenever the status is asked for.

    Attributes:
        latency: stage times of the frames that are done.
        lost: results that a sink was too slow for.
    """

    def __init__(self, source: Source, sensors: Callable[[], Reading] = Reading) -> None:
        self.latency = Latency()
        self.lost = 0
        self._source, self._sensors = source, sensors
        self._done = Rate()
        self._begun_s: float | None = None
        self._longest_s = 0.0
        self._end: State | None = None
        self._problem: str | None = None
        self._lock = Lock()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Know that a frame is worked on for the time of a `with` block."""
        self._begun_s = begun_s = monotonic()
        try:
            yield
        finally:
            self._begun_s, self._longest_s = None, max(self._longest_s, monotonic() - begun_s)

    def _hanging_s(self) -> float | None:
        """Tell for how long a frame has been worked on, if that is too long; None otherwise."""
        begun_s = self._begun_s
        worked_s = 0.0 if begun_s is None else monotonic() - begun_s
        return worked_s if worked_s > max(HANGS_S, 3 * self._longest_s) else None

    def done(self, stages_ms: Mapping[str, float], *, since_last_ms: float | None = None) -> None:
        """Count a frame that has reached every sink: see `Latency.add`."""
        with self._lock:
            self.latency.add(stages_ms, since_last_ms=since_last_ms)
            self._done.add(monotonic())

    def lose(self) -> None:
        """Count a result that a sink never got."""
        with self._lock:
            self.lost += 1

    def end(self, state: State, problem: str | None = None) -> None:
        """Remember how the stream ended."""
        self._end, self._problem = state, problem

    @property
    def state(self) -> State:
        """Tell how the source is; also `stale` where it sends pictures and none comes out of the network."""
        state = self._end or self._source.state
        return "stale" if state == "live" and self._hanging_s() is not None else state

    @property
    def dropped(self) -> int:
        """Pictures of a live source that were not segmented, and results that a sink never got."""
        return self._source.dropped + self.lost

    @property
    def reconnects(self) -> int:
        """How often the source was lost and came back."""
        return self._source.reconnects

    def status(self) -> Status:
        """Tell how the stream is."""
        source = self._source
        age_s, problem = source.age_s, self._problem or source.problem
        sensed = self._sensors()
        state, hanging_s = self.state, self._hanging_s()
        if state == "stale" and hanging_s is not None:
            age_s = max(age_s or 0.0, hanging_s)
            problem = f"one frame has been worked on for {hanging_s:.0f} s: the GPU or a disk hangs"
        with self._lock:
            return Status(
                state=state,
                age_ms=None if age_s is None else 1000 * age_s,
                frames=self.latency.frames,
                dropped=self.dropped,
                reconnects=source.reconnects,
                fps=(self._done.per_second(monotonic()) or 0.0) if self._end is None else 0.0,
                camera_fps=source.arriving_fps if self._end is None else None,
                latency=self.latency.percentiles(),
                stage_seconds=self.latency.buckets(),
                temperature_c=sensed.temperature_c,
                power_w=sensed.power_w,
                throttled=sensed.throttled,
                problem=None if state == "live" else problem,
                unchanged_s=source.unchanged_s if self._end is None else None,
            )
