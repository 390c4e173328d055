"""Recordings of robots. Oracle: what rosbags wrote into them."""

import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.errors import SinkNameError, SourceError, SourceNotFoundError
from runtime.ros.message import COMPRESSED, IMAGE
from runtime.sinks.output import Outputs
from runtime.sources.bag import BagSource
from runtime.sources.open import inputs_of, open_source, open_sources
from runtime.sources.source import Frame, Stamp
from tests.runtime.ros.bags import BEGIN, KINDS, STEP, Written, image, write_bag

PICTURES = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), np.uint8)


def camera(number: int, topic: str = "/camera", stamp: int | None = None) -> Written:
    nanoseconds = BEGIN + number * STEP // 10 if stamp is None else stamp
    return topic, IMAGE, {**image(PICTURES[number % 5]), "stamp": (nanoseconds, f"frame{number}")}


def packed(number: int, topic: str = "/camera/compressed") -> Written:
    _, data = cv2.imencode(".png", PICTURES[number])
    return topic, COMPRESSED, {"format": "bgr8; png compressed bgr8", "data": data.ravel(), "stamp": (BEGIN, "")}


TEXT: Written = ("/chat", "std_msgs/msg/String", {"data": "hello"})


def frames_of(source: str) -> list[Frame]:
    with open_source(source) as opened:
        return list(opened)


@pytest.mark.parametrize("kind", KINDS)
def test_every_picture_with_its_time_and_stamp(tmp_path: Path, kind: str) -> None:
    path = write_bag(tmp_path / kind, [TEXT, *map(camera, range(5)), packed(2, "/other")])
    with open_source(f"bag:{path}?topic=/camera") as source:
        assert (source.count, source.ends, source.live, source.fps) == (5, True, False, None)
        frames = list(source)
    for number, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.image, PICTURES[number])
        assert (frame.index, frame.name, frame.path) == (number, f"{number:06d}", path)
        assert frame.time_s == pytest.approx(number / 10)
        assert frame.stamp == Stamp(BEGIN + number * STEP // 10, f"frame{number}")
    assert len(frames) == 5


@pytest.mark.parametrize("kind", KINDS)
def test_compressed_pictures(tmp_path: Path, kind: str) -> None:
    path = write_bag(tmp_path / kind, [*map(packed, range(3)), TEXT])
    frames = frames_of(f"bag:{path}")  # the only topic with pictures
    np.testing.assert_array_equal([frame.image for frame in frames], PICTURES[:3])


@pytest.mark.parametrize(
    ("stamps", "times_s"),
    [
        ([0, 0, 0, 0], [0, 1, 2, 3]),
        ([5, 5, 5, 5], [0, 1, 2, 3]),
        ([100, 200, 100, 400], [0, 1e-7, 1 + 1e-7, 1 + 4e-7]),
        ([0, 100, 200, 0], [0, 1, 1 + 1e-7, 2 + 1e-7]),
    ],
)
def test_time_goes_on_as_the_recording_did_where_stamps_do_not(
    tmp_path: Path, stamps: list[int], times_s: list[float]
) -> None:
    """Messages were recorded a second apart."""
    path = write_bag(tmp_path / "ros1.bag", [camera(n, stamp=stamp) for n, stamp in enumerate(stamps)])
    assert [frame.time_s for frame in frames_of(f"bag:{path}")] == pytest.approx(times_s)


def test_which_topic(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "mcap", [camera(0, "/left"), camera(1, "/right"), camera(2, "/right"), TEXT])
    listed = rf"there are /left \({IMAGE}, 1 messages\), /right \({IMAGE}, 2 messages\)"
    with pytest.raises(
        SourceNotFoundError, match=rf"2 topics with pictures: choose one as bag:.*\?topic=/left; {listed}"
    ):
        open_source(f"bag:{path}")
    with pytest.raises(SourceNotFoundError, match=f"has no topic /up; with pictures {listed}"):
        open_source(f"bag:{path}?topic=/up")
    with pytest.raises(SourceError, match=rf"/chat of .* has messages std_msgs/msg/String, expected .*{listed}"):
        open_source(f"bag:{path}?topic=/chat")
    assert len(frames_of(f"bag:{path}?topic=right")) == 2
    chat = write_bag(tmp_path / "chat.bag", [TEXT])
    with pytest.raises(SourceError, match=r"no topic with pictures, but is /chat \(std_msgs/msg/String, 1 messages\)"):
        open_source(f"bag:{chat}")


def test_what_is_no_picture_is_left_out_and_told(tmp_path: Path) -> None:
    short = ("/camera", IMAGE, image(PICTURES[0], step=7))
    path = write_bag(tmp_path / "sqlite3", [camera(0), short, camera(2), short])
    with open_source(f"bag:{path}") as source:
        assert [frame.stamp and frame.stamp.frame_id for frame in source] == ["frame0", "frame2"]
        assert source.problems == [
            "2 of 4 messages are no pictures: message 2 of /camera: an image of 6 x 4 pixels as bgr8 has 7 bytes a row "
            "(`step`), expected 18 or more"
        ]
    depth = write_bag(tmp_path / "depth.bag", [("/depth", IMAGE, image(PICTURES[0], "32FC1"))] * 30)
    with pytest.raises(SourceError, match="has no picture: message 1 of /depth: images as 32FC1 hold distances"):
        frames_of(f"bag:{depth}")


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("none.bag", "does not exist: expected bag:FILE"),
        ("folder", "has no metadata.yaml, so it is no bag.*ros2 bag reindex"),
        ("text.txt", "has not the name of a bag"),
        ("text.bag", "cannot be read, or not from here on"),
        ("text.mcap", "cannot be read, or not from here on"),
        ("text.db3", "cannot be read, or not from here on"),
        ("empty.bag", "seems to be empty"),
        ("metadata", "cannot be read, or not from here on"),
    ],
)
def test_what_is_no_bag(tmp_path: Path, name: str, match: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata" / "metadata.yaml").write_text("rosbag2_bagfile_information: 3")
    for suffix in ("txt", "bag", "mcap", "db3"):
        (tmp_path / f"text.{suffix}").write_text("hello " * 100)
    (tmp_path / "empty.bag").touch()
    with pytest.raises(SourceError, match=match):
        open_source(f"bag:{tmp_path / name}")


def test_a_bag_without_index_is_told(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "ros1.bag", map(camera, range(5)))
    data = bytearray(path.read_bytes())
    place = data.index(b"index_pos=") + len(b"index_pos=")
    data[place : place + 8] = bytes(8)
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"has no index, as if .* not indexed.*: `rosbag reindex .*ros1.bag`"):
        open_source(f"bag:{path}")


LARGE = np.random.default_rng(1).integers(0, 256, (400, 600, 3), np.uint8)


@pytest.mark.parametrize(
    ("kind", "before", "match"),
    [
        ("ros1.bag", 5, "cannot be read, or not from here on"),
        ("one.mcap", 150, "is damaged: 7 of 8 messages are there"),
    ],
)
def test_a_bag_that_is_damaged_in_the_middle(tmp_path: Path, kind: str, before: int, match: str) -> None:
    """Frames until then are there."""
    path = write_bag(tmp_path / kind, [("/camera", IMAGE, image(LARGE))] * 8)
    data = bytearray(path.read_bytes())
    place = data.index(b"op=\x02" if kind == "ros1.bag" else LARGE.tobytes()[:32], len(data) // 2)
    data[place - before : place + 4] = bytes(before + 4)
    path.write_bytes(data)
    frames: list[Frame] = []
    with open_source(f"bag:{path}") as source, pytest.raises(SourceError, match=match):
        frames.extend(source)
    assert 1 <= len(frames) < 8
    np.testing.assert_array_equal(frames[0].image, LARGE)


@pytest.mark.parametrize(
    ("kind", "match"),
    [
        ("ros1.bag", "has no index, .*: `rosbag reindex .*` makes one of what is there"),
        ("one.mcap", "has no index, .*: `mcap recover .*one.mcap -o recovered.mcap` makes one"),
        ("one.db3", "cannot be read, or not from here on .*: copy or record it again"),
    ],
)
def test_a_bag_that_is_cut_short_is_told(tmp_path: Path, kind: str, match: str) -> None:
    path = write_bag(tmp_path / kind, [("/camera", IMAGE, image(LARGE))] * 8)
    data = path.read_bytes()
    for share in (0.1, 0.5, 0.9, 0.999):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(SourceError, match=match):
            frames_of(f"bag:{path}")


def test_no_result_replaces_a_bag(tmp_path: Path) -> None:
    folder = write_bag(tmp_path / "mcap", [camera(0)])
    file = next(folder.glob("*.mcap"))
    with open_source(f"bag:{folder}") as source:
        outputs = Outputs(source.inputs, overwrite=True)
    assert inputs_of(f"bag:{folder}?topic=/camera") == source.inputs
    for path in (file, folder / "metadata.yaml"):
        with pytest.raises(SinkNameError, match="is the source itself"):
            outputs.claim(path)
    with pytest.raises(SinkNameError, match="is the folder that the sources are read from"):
        outputs.check_folder(folder)


def test_several_bags_one_after_the_other(tmp_path: Path) -> None:
    one = write_bag(tmp_path / "one.bag", [camera(0), camera(1)])
    two = write_bag(tmp_path / "two.bag", [camera(2)])
    copy = shutil.copytree(write_bag(tmp_path / "mcap", [camera(3)]), tmp_path / "copy")
    with open_sources([f"bag:{one}", f"bag:{two}?topic=/camera", f"bag:{copy}"]) as source:
        assert [frame.name for frame in source] == ["one/000000", "one/000001", "two/000000", "copy/000000"]
        assert {one, two, copy} <= set(source.inputs)


def test_a_bag_is_closed_once(tmp_path: Path) -> None:
    source = BagSource(f"bag:{write_bag(tmp_path / 'ros1.bag', [camera(0)])}")
    frames = iter(source)
    next(frames)
    source.close()
    source.close()


def test_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_bag(tmp_path / "ros1.bag", [camera(0)])
    monkeypatch.setitem(sys.modules, "rosbags.highlevel", None)
    with pytest.raises(SourceError, match=r'rosbags, which is not installed: `pip install "tcl-edge\[ros\]"`'):
        open_source(f"bag:{path}")
