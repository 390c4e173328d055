"""Where the time of a frame goes: stages in milliseconds, percentiles, frames per second.

What is kept does not grow: a stream may run for months.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

STAGES = ("decode", "pre", "infer", "post", "overlay", "write", "end to end")
PERCENTILES = (50, 90, 99)

WARM_UP = 3
"""Frames left out of the figures: they pay for memory that later ones reuse."""

PER_OCTAVE = 64
"""Bins from a time to twice that time: a percentile is off by at most 0.6 %."""
SHORTEST_MS, LONGEST_MS = 2.0**-10, 2.0**20
"""A microsecond to 17 minutes; what is outside counts as the nearest."""


@dataclass(frozen=True)
class Buckets:
    """How many of a kind took how long.

    Attributes:
        bounds_s: seconds, ascending.
        counts: how many took at most as long as each bound.
        count: how many there are.
        sum_s: all of them together.
    """

    bounds_s: tuple[float, ...]
    counts: tuple[int, ...]
    count: int
    sum_s: float


class Histogram:
    """Times in bins whose width grows with the time (as HdrHistogram's): any percentile, in 15 KB."""

    def __init__(self) -> None:
        octaves = round(np.log2(LONGEST_MS / SHORTEST_MS))
        self._bins = np.zeros(octaves * PER_OCTAVE + 1, np.int64)
        self._sum_ms = self._most_ms = 0.0
        self._least_ms = float("inf")

    def add(self, time_ms: float) -> None:
        """Count a time in milliseconds."""
        octaves = np.log2(min(max(time_ms, SHORTEST_MS), LONGEST_MS) / SHORTEST_MS)
        self._bins[int(np.ceil(octaves * PER_OCTAVE))] += 1
        self._sum_ms += time_ms
        self._least_ms, self._most_ms = min(self._least_ms, time_ms), max(self._most_ms, time_ms)

    @property
    def count(self) -> int:
        """How many times were counted."""
        return int(self._bins.sum())

    def percentiles(self, percentiles: Sequence[float]) -> tuple[float, ...]:
        """Give the times in milliseconds below which so many percent lie.

        Raises:
            ValueError: nothing was counted.
        """
        counts: npt.NDArray[np.int64] = self._bins.cumsum()
        if not counts[-1]:
            raise ValueError("no time was counted")
        ranks = np.maximum(np.ceil(np.asarray(percentiles) / 100 * counts[-1]), 1)
        middles = SHORTEST_MS * 2 ** ((np.searchsorted(counts, ranks) - 0.5) / PER_OCTAVE)
        return tuple(map(float, np.clip(middles, self._least_ms, self._most_ms)))

    def buckets(self) -> Buckets:
        """Count by powers of two, from a quarter of a millisecond to four seconds."""
        exponents = range(-2, 13)
        counts = self._bins.cumsum()
        ends = [round((exponent - np.log2(SHORTEST_MS)) * PER_OCTAVE) for exponent in exponents]
        return Buckets(
            tuple(2.0**exponent / 1000 for exponent in exponents),
            tuple(int(counts[end]) for end in ends),
            int(counts[-1]),
            self._sum_ms / 1000,
        )


class Latency:
    """Collect the stage times of every frame. Read it while another thread adds to it."""

    def __init__(self) -> None:
        self.frames = 0
        self._few = _Times()
        self._times = _Times()

    def add(self, stages_ms: Mapping[str, float], *, since_last_ms: float | None = None) -> None:
        """Record a frame.

        Args:
            stages_ms: milliseconds a stage.
            since_last_ms: from when the frame before was done to when this one was, in milliseconds, less what nobody
                worked in; None if it is the time from its own beginning to its end.
        """
        took_ms = stages_ms.get("end to end", 0.0) if since_last_ms is None else since_last_ms
        self.frames += 1
        (self._few if self.frames <= WARM_UP else self._times).add(stages_ms, took_ms)

    @property
    def warm_up(self) -> int:
        """Frames that the figures leave out; none where there are no others."""
        return WARM_UP if self.frames > WARM_UP else 0

    @property
    def _measured(self) -> "_Times":
        return self._times if self._times.took_ms else self._few

    def percentiles(self) -> dict[str, tuple[float, ...]]:
        """Percentiles 50, 90 and 99 of each stage in milliseconds; empty before the first frame."""
        return {stage: times.percentiles(PERCENTILES) for stage, times in self._measured.stages.items() if times.count}

    def buckets(self) -> dict[str, Buckets]:
        """Count how many frames took how long in each stage."""
        return {stage: times.buckets() for stage, times in self._measured.stages.items()}

    @property
    def fps(self) -> float:
        """Frames per second while there was work; 0 before the first frame."""
        measured = self._measured
        return 1000 * measured.frames / measured.took_ms if measured.took_ms else 0.0


class _Times:
    def __init__(self) -> None:
        self.stages = {stage: Histogram() for stage in STAGES}
        self.frames, self.took_ms = 0, 0.0

    def add(self, stages_ms: Mapping[str, float], took_ms: float) -> None:
        for stage, times in self.stages.items():
            times.add(stages_ms.get(stage, 0.0))
        self.frames += 1
        self.took_ms += took_ms
