"""What Prometheus reads."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from runtime.sources.source import State
from runtime.stream.latency import Buckets
from runtime.stream.status import Status

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
Number = Callable[[Status], float | None]

COUNTERS: Mapping[str, tuple[str, Number]] = {
    "tcl_edge_frames": ("Frames segmented.", lambda status: status.frames),
    "tcl_edge_dropped": ("Pictures of the source that were not segmented.", lambda status: status.dropped),
    "tcl_edge_reconnects": ("How often the source was lost and came back.", lambda status: status.reconnects),
}
GAUGES: Mapping[str, tuple[str, Number]] = {
    "tcl_edge_frame_age_seconds": (
        "Since the last picture of the source.",
        lambda status: None if status.age_ms is None else status.age_ms / 1000,
    ),
    "tcl_edge_picture_unchanged_seconds": (
        "For which the source has sent the same picture again and again.",
        lambda status: status.unchanged_s,
    ),
    "tcl_edge_fps": ("Frames segmented per second.", lambda status: status.fps),
    "tcl_edge_camera_fps": ("Pictures per second that the source sends.", lambda status: status.camera_fps),
    "tcl_edge_temperature_celsius": ("Of the hottest processor.", lambda status: status.temperature_c),
    "tcl_edge_power_watts": ("Of the whole board.", lambda status: status.power_w),
}


def exposition(statuses: Mapping[str, Status], viewers: int) -> bytes:
    """Write the status of every source in the text format of Prometheus.

    Args:
        statuses: by the name of the source; a label `source` has it, unless the only name is empty.
        viewers: that watch at the moment.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Statuses(statuses, viewers))
    return generate_latest(registry)


class _Statuses(Collector):
    def __init__(self, statuses: Mapping[str, Status], viewers: int) -> None:
        self._statuses, self._viewers = statuses, viewers
        self._named = ("source",) if set(statuses) != {""} else ()

    def _labels(self, name: str, *more: str) -> tuple[str, ...]:
        return (name, *more) if self._named else more

    def collect(self) -> Iterable[Family]:
        """Give every family of samples."""
        for table, family_of in ((COUNTERS, CounterMetricFamily), (GAUGES, GaugeMetricFamily)):
            for metric, (about, number) in table.items():
                family = family_of(metric, about, labels=self._named)
                for name, status in self._statuses.items():
                    if (value := number(status)) is not None:
                        family.add_metric(self._labels(name), value)
                yield family
        viewers = GaugeMetricFamily("tcl_edge_viewers", "Who watches, by the page or a stream of pictures.")
        viewers.add_metric((), self._viewers)
        yield viewers
        state = GaugeMetricFamily("tcl_edge_state", "1 for the state of the source.", labels=(*self._named, "state"))
        for name, status in self._statuses.items():
            for one in get_args(State):
                state.add_metric(self._labels(name, one), float(status.state == one))
        yield state
        throttled = GaugeMetricFamily(
            "tcl_edge_throttled", "1 for what holds the machine back.", labels=(*self._named, "reason")
        )
        for name, status in self._statuses.items():
            for reason in status.throttled:
                throttled.add_metric(self._labels(name, reason), 1.0)
        yield throttled
        stages = HistogramMetricFamily(
            "tcl_edge_stage_seconds", "How long a stage of a frame took.", labels=(*self._named, "stage")
        )
        for name, status in self._statuses.items():
            for stage, buckets in status.stage_seconds.items():
                stages.add_metric(self._labels(name, stage), list(_cumulative(buckets)), buckets.sum_s)
        yield stages


def _cumulative(buckets: Buckets) -> Iterator[tuple[str, float]]:
    for bound_s, count in zip(buckets.bounds_s, buckets.counts, strict=True):
        yield f"{bound_s:g}", count
    yield "+Inf", buckets.count
