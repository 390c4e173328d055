"""Figures of the latency table. Oracle: numbers worked out by hand."""

import io
import json

import pytest

from runtime.latency import WARM_UP, Latency


def test_percentiles_leave_the_warm_up_out() -> None:
    latency = Latency()
    for _ in range(WARM_UP):
        latency.add({"infer": 1e6, "end to end": 1e6})
    for i in range(101):
        latency.add({"infer": float(i), "end to end": 20.0})
    assert latency.percentiles()["infer"] == (50, 90, 99)
    assert latency.percentiles()["decode"] == (0, 0, 0)
    assert latency.fps == pytest.approx(50)


def test_a_single_frame_counts() -> None:
    latency = Latency()
    with pytest.raises(ValueError, match="no frame was recorded"):
        latency.percentiles()
    latency.add({"end to end": 100.0})
    assert latency.fps == pytest.approx(10)


def test_the_log_has_a_line_a_frame() -> None:
    log = io.StringIO()
    latency = Latency(log)
    latency.add({"infer": 1.23456, "end to end": 2.0})
    latency.add({"infer": 2.0, "end to end": 3.0})
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert [(line["frame"], line["infer"], line["end to end"]) for line in lines] == [(0, 1.235, 2.0), (1, 2.0, 3.0)]
