"""Watches a stream: what it did, how long that took, and how its source is."""

from collections.abc import Callable, Mapping
from threading import Lock
from time import monotonic

from runtime.rate import Rate
from runtime.sensors import Reading
from runtime.sources.source import Source, State
from runtime.stream.latency import Latency
from runtime.stream.status import Status


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
        self._end: State | None = None
        self._problem: str | None = None
        self._lock = Lock()

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
        """Tell how the source is."""
        return self._end or self._source.state

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
        age_s = source.age_s
        sensed = self._sensors()
        state = self.state
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
                problem=None if state == "live" else self._problem or source.problem,
            )
