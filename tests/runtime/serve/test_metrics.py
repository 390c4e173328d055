"""What Prometheus reads. Oracle: its own parser."""

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from runtime.serve.metrics import exposition
from runtime.stream.latency import Latency
from runtime.stream.status import Status


def status(**about: Any) -> Status:
    latency = Latency()
    for number in range(10):
        latency.add({"pre": 1.0, "infer": 10.0 + number, "end to end": 15.0})
    known = {"state": "live", "age_ms": 40.0, "frames": 10, "dropped": 2, "reconnects": 1, "fps": 25.0}
    return Status(**{**known, "camera_fps": None, "stage_seconds": latency.buckets(), **about})


def samples(text: bytes) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(text.decode())
    return {(s.name, *(s.labels[name] for name in sorted(s.labels))): s.value for f in families for s in f.samples}


def test_every_fixed_name_has_its_value() -> None:
    read = samples(exposition({"": status()}, viewers=4))
    assert read[("tcl_edge_frames_total",)] == 10
    assert read[("tcl_edge_dropped_total",)] == 2
    assert read[("tcl_edge_reconnects_total",)] == 1
    assert read[("tcl_edge_frame_age_seconds",)] == pytest.approx(0.04)
    assert read[("tcl_edge_viewers",)] == 4
    states = {labels[1]: value for labels, value in read.items() if labels[0] == "tcl_edge_state"}
    assert states == {"live": 1, "stale": 0, "reconnecting": 0, "ended": 0, "failed": 0}
    assert ("tcl_edge_camera_fps",) not in read  # what is not known is not zero
    assert read[("tcl_edge_stage_seconds_count", "infer")] == 7  # after the warm-up
    assert read[("tcl_edge_stage_seconds_sum", "infer")] == pytest.approx(0.001 * sum(range(13, 20)))
    bounds = [labels for labels in read if labels[0] == "tcl_edge_stage_seconds_bucket" and "infer" in labels]
    counts = [read[labels] for labels in bounds]
    assert counts == sorted(counts)
    assert read[("tcl_edge_stage_seconds_bucket", "+Inf", "infer")] == 7
    assert read[("tcl_edge_stage_seconds_bucket", "0.016", "infer")] == 4  # 13, 14, 15 and 16 ms


def test_several_sources_are_told_apart() -> None:
    read = samples(
        exposition(
            {"front": status(), "rear": status(state="stale", power_w=7.5, throttled=("under-voltage",))}, viewers=0
        )
    )
    assert read[("tcl_edge_frames_total", "front")] == read[("tcl_edge_frames_total", "rear")] == 10
    assert read[("tcl_edge_state", "rear", "stale")] == 1
    assert read[("tcl_edge_state", "front", "stale")] == 0
    assert read[("tcl_edge_power_watts", "rear")] == 7.5
    assert read[("tcl_edge_throttled", "under-voltage", "rear")] == 1
    assert len([labels for labels in read if labels[0] == "tcl_edge_throttled"]) == 1


def test_a_picture_that_is_repeated_has_a_number() -> None:
    assert samples(exposition({"": status(unchanged_s=61.5)}, 0))[("tcl_edge_picture_unchanged_seconds",)] == 61.5
    assert ("tcl_edge_picture_unchanged_seconds",) not in samples(exposition({"": status()}, 0))
