"""The log. Oracles: the results themselves, and the state that a driven source has."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from runtime.errors import WriteError
from runtime.segmenter import Segmenter
from runtime.sinks.output import Outputs
from runtime.sources.open import open_source
from runtime.stream.latency import STAGES
from runtime.stream.loop import stream
from runtime.stream.monitor import Monitor
from runtime.stream.stats import StatsLog


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_line_a_frame(segmenter: Segmenter, tmp_path: Path) -> None:
    source = open_source("test://pattern?frames=4&size=64x48")
    monitor, coverage = Monitor(source), []
    with StatsLog(tmp_path / "s.jsonl", Outputs(), monitor) as log:
        done = stream(
            source,
            segmenter,
            [],
            monitor=monitor,
            on_done=log.done,
            on_result=lambda r, f: coverage.append(r.coverage()),
        )
    assert done
    for index, (line, expected) in enumerate(zip(lines(tmp_path / "s.jsonl"), coverage, strict=True)):
        assert list(line) == ["frame", "time_s", "age_ms", "state", "coverage", "speed", "dropped", "reconnects"]
        assert (line["frame"], line["age_ms"], line["state"], line["dropped"]) == (index, None, "live", 0)
        assert line["time_s"] == pytest.approx(index / source.fps)
        assert line["coverage"] == pytest.approx(expected, abs=1e-6)
        assert sorted(line["speed"]) == sorted(STAGES)


def test_a_line_when_the_source_is_lost(segmenter: Segmenter, tmp_path: Path) -> None:
    class Camera:
        state, age_s, dropped, reconnects, arriving_fps, problem = "live", 0.5, 3, 1, 30.0, "unplugged"
        unchanged_s = None

    camera = Camera()
    monitor = Monitor(camera)  # type: ignore[arg-type] # what it asks for
    with StatsLog(tmp_path / "s.jsonl", Outputs(), monitor) as log:
        for state in ("live", "stale", "stale", "reconnecting", "live", "reconnecting", "ended"):
            camera.state = state
            log.look()
    assert [line["state"] for line in lines(tmp_path / "s.jsonl")] == ["stale", "reconnecting"]
    assert lines(tmp_path / "s.jsonl")[0] | {"speed": {}, "coverage": {}} == {
        "frame": -1,
        "time_s": 0.0,
        "age_ms": 500.0,
        "state": "stale",
        "coverage": {},
        "speed": {},
        "dropped": 3,
        "reconnects": 1,
    }
    camera.state = "stale"
    assert (monitor.status().state, monitor.status().problem) == ("stale", "unplugged")
    monitor.end("ended")
    assert (monitor.status().state, monitor.status().fps, monitor.status().camera_fps) == ("ended", 0, None)


def test_a_full_disk_is_told_with_its_file(
    segmenter: Segmenter, tmp_path: Path, files_no_longer_than: Callable[[int], AbstractContextManager[None]]
) -> None:
    source = open_source("test://pattern?size=64x48")
    monitor = Monitor(source)
    with (
        files_no_longer_than(2000),
        pytest.raises(WriteError, match=r"s\.jsonl cannot be written \(File too large\)"),
        StatsLog(tmp_path / "s.jsonl", Outputs(), monitor) as log,
    ):
        stream(source, segmenter, [], monitor=monitor, on_done=log.done)
    whole = (tmp_path / "s.jsonl").read_text().splitlines()[:-1]
    assert [json.loads(line)["frame"] for line in whole] == list(range(len(whole)))
    assert len(whole) >= 3
