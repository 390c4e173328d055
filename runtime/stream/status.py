"""How a stream is doing, as a page, a log or a watchdog is told."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from runtime.sources.source import State
from runtime.stream.latency import Buckets


@dataclass(frozen=True)
class Status:
    """A stream at one moment.

    Attributes:
        state: of its source.
        age_ms: milliseconds since the last picture came in, or since work on it began that does not end; None where
            nothing ages.
        frames: segmented so far.
        dropped: pictures of a live source that were never segmented, and results that a slow sink never got.
        reconnects: how often the source was lost and came back.
        fps: frames segmented per second in the last seconds.
        camera_fps: pictures per second that the source sends.
        latency: of each stage the percentiles 50, 90 and 99, in milliseconds.
        stage_seconds: of each stage, how many frames took how long.
        temperature_c: of the hottest processor; None where it cannot be read.
        power_w: of the whole board.
        throttled: what holds the machine back.
        problem: why the source is not live.
        unchanged_s: seconds for which a live source has sent the same picture again and again; None where nothing ages.
    """

    state: State
    age_ms: float | None
    frames: int
    dropped: int
    reconnects: int
    fps: float
    camera_fps: float | None
    latency: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    stage_seconds: Mapping[str, Buckets] = field(default_factory=dict)
    temperature_c: float | None = None
    power_w: float | None = None
    throttled: tuple[str, ...] = ()
    problem: str | None = None
    unchanged_s: float | None = None
