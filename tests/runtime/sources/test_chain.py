"""Several sources as one. Oracle: each of them opened alone."""

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.errors import SourceError, SourceNotFoundError
from runtime.sources.chain import name_of
from runtime.sources.open import SHIPPED_CLIP, open_source, open_sources

ONE, TWO = "test://pattern?size=16x16&frames=3&fps=10", "test://pattern?size=24x16&frames=2&fps=50"


def test_frames_are_numbered_on_and_times_go_on() -> None:
    frames = list(open_sources([ONE, TWO, ONE]))
    alone = [frame.image for source in (ONE, TWO, ONE) for frame in open_source(source)]
    assert all(np.array_equal(frame.image, image) for frame, image in zip(frames, alone, strict=True))
    assert [frame.index for frame in frames] == list(range(8))
    assert [round(frame.time_s, 3) for frame in frames] == [0, 0.1, 0.2, 0.3, 0.32, 0.34, 0.44, 0.54]
    assert len({frame.name for frame in frames}) == 8


def test_a_source_that_cannot_be_read_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    (tmp_path / "page.mp4").write_text("<html>")
    source = open_sources([ONE, str(tmp_path / "page.mp4"), ONE])
    assert len(list(source)) == 6
    (problem,) = source.problems
    assert "page.mp4 is a web page" in problem
    with pytest.raises(SourceError, match="none of 2 sources could be read"):
        list(open_sources([str(tmp_path / "page.mp4")] * 2))


def test_pictures_of_several_places_are_one_source(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    for name in ("a.png", "b.png", "more/c.png", "more/d.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((4, 4, 3), np.uint8))
    source = open_sources([str(tmp_path / "b.png"), str(tmp_path / "more"), str(tmp_path / "a*.png")])
    assert source.count == 4
    assert {frame.name for frame in source} == {"a", "b", "c", "d"}
    assert {tmp_path / "more", tmp_path / "more/c.png", tmp_path / "a.png"} <= set(source.inputs)


def test_what_never_ends_is_no_one_of_several(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError, match="'0' is one of several sources, and never ends"):
        open_sources([ONE, "0"])
    for endless in ("rtsp://eve:secret@cam/a", "RTSPS://cam/a", "gst:videotestsrc", "csi://0", "ros2:/camera"):
        with pytest.raises(SourceNotFoundError, match="is one of several sources, and never ends") as found:
            open_sources([ONE, endless])
        assert "secret" not in str(found.value)
    with pytest.raises(SourceNotFoundError, match="'gone.mp4' does not exist"):
        open_sources([ONE, "gone.mp4"])


def test_a_pattern_of_videos_means_all_of_them(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(SHIPPED_CLIP.read_bytes())
    source = open_source(str(tmp_path / "*.mp4"))
    frames = [frame.name for frame in itertools.takewhile(lambda frame: frame.name != "b/000001", source)]
    with open_source(str(tmp_path / "a.mp4")) as one:
        alone = sum(1 for _ in one)
    assert frames[0] == "a/000000"
    assert frames[alone] == "b/000000"


def test_what_is_left_out_or_skipped_in_one_of_them_is_told(tmp_path: Path) -> None:
    """Also where nothing of it can be read."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/notes.txt").write_text("no picture")
    (tmp_path / "in/broken.png").write_bytes(b"broken")
    source = open_sources([str(tmp_path / "in"), ONE])
    assert len(list(source)) == 3
    assert source.left_out == ["other files (1): notes.txt"]
    assert "broken.png" in source.problems[0]
    assert "none of 1 pictures could be read" in source.problems[1]


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("http://eve:secret@cam/a/cars.mp4?token=x", "cars"),
        ("rtsp://eve:secret@cam", "cam"),
        ("rtsp://cam/stream1", "stream1"),
        ("test://pattern?size=16x16", "pattern"),
        ("a/b.mp4", "b"),
    ],
)
def test_a_source_is_named_after_what_it_is_not_how_to_enter(source: str, name: str) -> None:
    assert name_of(source) == name
