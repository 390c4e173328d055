"""Figures of the latency table. Oracles: NumPy's percentiles, counts by a loop, and numbers worked out by hand."""

import numpy as np
import pytest

from runtime.stream.latency import PERCENTILES, STAGES, WARM_UP, Histogram, Latency


def test_the_warm_up_is_left_out() -> None:
    latency = Latency()
    for _ in range(WARM_UP):
        latency.add({"infer": 1e6, "end to end": 1e6})
    for i in range(1, 101):
        latency.add({"infer": float(i), "end to end": 20.0})
    assert latency.percentiles()["infer"] == pytest.approx((50, 90, 99), rel=0.011)
    assert max(latency.percentiles()["decode"]) < 0.001
    assert latency.fps == pytest.approx(50)
    assert (latency.frames, latency.warm_up) == (103, WARM_UP)


def test_few_frames_are_better_than_none() -> None:
    latency = Latency()
    assert (latency.percentiles(), latency.fps) == ({}, 0)
    latency.add({"end to end": 100.0})
    assert latency.fps == pytest.approx(10)
    assert latency.percentiles()["end to end"] == pytest.approx((100, 100, 100))
    assert latency.warm_up == 0


def test_frames_that_overlap_are_as_many_as_come_out() -> None:
    latency = Latency()
    for _ in range(10):
        latency.add({"end to end": 100.0}, since_last_ms=40.0)
    assert latency.fps == pytest.approx(25)


@pytest.mark.parametrize("seed", range(5))
def test_percentiles_are_off_by_a_hundredth_at_most(seed: int) -> None:
    generator = np.random.default_rng(seed)
    times = generator.lognormal(generator.uniform(-6, 6), generator.uniform(0.1, 2), 5001)
    histogram = Histogram()
    for value in times:
        histogram.add(float(value))
    expected = np.percentile(times, PERCENTILES, method="inverted_cdf")
    assert histogram.percentiles(PERCENTILES) == pytest.approx(tuple(expected), rel=0.011)
    assert histogram.percentiles((0, 100)) == pytest.approx((times.min(), times.max()), rel=0.011)


def test_buckets_are_counts_up_to_each_bound() -> None:
    times = [0.0, 0.1, 0.25, 0.26, 1.0, 3.9, 4.0, 4.1, 1000.0, 4096.0, 5000.0, 1e9]
    histogram = Histogram()
    for value in times:
        histogram.add(value)
    buckets = histogram.buckets()
    assert buckets.counts == tuple(sum(value <= 1000 * bound for value in times) for bound in buckets.bounds_s)
    assert (buckets.count, buckets.sum_s) == (12, pytest.approx(sum(times) / 1000))


def test_what_is_kept_does_not_grow() -> None:
    """Oracle: the number of bytes of all arrays."""
    latency = Latency()

    def size() -> int:
        kept = [latency._few, latency._times]
        return sum(times.stages[stage]._bins.nbytes for times in kept for stage in STAGES)

    before = size()
    for i in range(2000):
        latency.add(dict.fromkeys(STAGES, float(i)))
    assert size() == before < 400_000


def test_nothing_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="no time was counted"):
        Histogram().percentiles((50,))
