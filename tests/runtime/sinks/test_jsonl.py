"""A line a frame. Oracle: the label map counted."""

import json
from pathlib import Path

import pytest

from runtime.sinks.open import open_sink
from runtime.sinks.output import Outputs
from runtime.sources.source import Source


def test_a_line_says_what_a_frame_shows(write, frames) -> None:
    lines = [json.loads(line) for line in write("out.jsonl", frames).read_text().splitlines()]
    assert [line["frame"] for line in lines] == [0, 1]
    assert [line["name"] for line in lines] == ["left/\\udcff<1>", "000012"]
    assert [line["path"] for line in lines] == ["left/\\udcff<1>.jpg", "clip.mp4"]
    assert [line["time_s"] for line in lines] == [0, 0.04]
    for line, (result, _) in zip(lines, frames, strict=True):
        assert line["size"] == list(result.mask.shape)
        shares = {word: float((result.mask == index).mean()) for index, word in enumerate(result.names)}
        assert line["coverage"] == pytest.approx(shares, abs=1e-6)
        for word in result.names[1:]:
            areas = sum(region["area"] for region in line["regions"] if region["word"] == word)
            assert areas == pytest.approx(shares[word] * result.mask.size)
        assert set(line["regions"][0]) == {"word", "box", "area", "confidence"}
        assert "background" not in {region["word"] for region in line["regions"]}


def test_a_reader_may_follow(frames, renamed, tmp_path: Path) -> None:
    """Whole lines are there while the next frames are not; the words may change."""
    sink = open_sink(str(tmp_path / "out.jsonl"), Source(), frames[0][0].names, Outputs())
    growing = tmp_path / "out.partial.jsonl"
    for number, (result, frame) in enumerate([frames[0], renamed(frames[1], ("background", "sky", "sea"))], start=1):
        sink.write(result, frame, frame.image)
        lines = [json.loads(line) for line in growing.read_text().splitlines()]
        assert len(lines) == number
        assert tuple(lines[-1]["coverage"]) == result.names
    sink.close(complete=True)
    assert [p.name for p in tmp_path.iterdir()] == ["out.jsonl"]


def test_a_stopped_one_is_partial(write, frames) -> None:
    assert len(write("out.jsonl", frames[:1], complete=False).read_text().splitlines()) == 1
