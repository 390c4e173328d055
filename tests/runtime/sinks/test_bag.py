"""Recordings of results. Oracle: rosbags, which reads them."""

import errno
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from runtime.errors import SinkError, SinkNameError, WriteError
from runtime.segmentation import Segmentation
from runtime.sinks.bag import BagSink
from runtime.sinks.open import open_sink
from runtime.sinks.output import Outputs
from runtime.sources.open import open_source
from runtime.sources.source import Frame, Source, Stamp

highlevel = pytest.importorskip("rosbags.highlevel", reason="rosbags is not installed")

KINDS = ["out.mcap", "out.bag", "out"]

Found = tuple[Segmentation, Frame]


@pytest.fixture
def stamped(frames: list[Found]) -> list[Found]:
    """Three frames of one size with stamps of a camera."""
    result, frame = frames[0]
    masks = [result.mask, result.mask[::-1].copy(), result.mask[:, ::-1].copy()]
    return [
        (replace(result, mask=mask), replace(frame, index=n, time_s=n / 10, stamp=Stamp(10**18 + n * 10**8, f"cam{n}")))
        for n, mask in enumerate(masks)
    ]


def written(path: Path, found: list[Found], *, complete: bool = True, topic: str = "") -> BagSink:
    sink = open_sink(f"bag:{path}{topic}", Source(), found[0][0].names, Outputs())
    assert isinstance(sink, BagSink)
    assert sink.paints
    for result, frame in found:
        sink.write(result, frame, frame.image)
    sink.close(complete=complete)
    sink.close(complete=complete)
    return sink


def read(path: Path) -> dict[str, list[tuple[int, Any]]]:
    """Every message by its topic, with the time of its recording."""
    messages: dict[str, list[tuple[int, Any]]] = {}
    with highlevel.AnyReader([path]) as reader:
        for connection, recorded_ns, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            messages.setdefault(connection.topic, []).append((recorded_ns, message))
    return messages


def stamp_of(message: Any) -> tuple[int, str]:
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec, message.header.frame_id


@pytest.mark.parametrize("name", KINDS)
def test_masks_overlay_and_words(tmp_path: Path, name: str, stamped: list[Found]) -> None:
    sink = written(tmp_path / name, stamped)
    assert sink.partial is None
    assert [path.name for path in tmp_path.iterdir()] == [name]
    messages = read(tmp_path / name)
    assert set(messages) == {"/segmentation", "/segmentation/overlay/compressed", "/segmentation/labels"}
    for (result, frame), (recorded_ns, image) in zip(stamped, messages["/segmentation"], strict=True):
        assert frame.stamp is not None
        assert (image.encoding, image.height, image.width, image.step) == ("mono8", *result.mask.shape, 80)
        np.testing.assert_array_equal(image.data.reshape(result.mask.shape), result.mask)
        assert stamp_of(image) == (frame.stamp.nanoseconds, frame.stamp.frame_id)
        assert recorded_ns == frame.stamp.nanoseconds
    for (_, frame), (_, overlay) in zip(stamped, messages["/segmentation/overlay/compressed"], strict=True):
        picture = cv2.imdecode(overlay.data, cv2.IMREAD_COLOR)
        np.testing.assert_allclose(picture, frame.image, atol=3)
        assert frame.stamp is not None
        assert stamp_of(overlay)[0] == frame.stamp.nanoseconds
    [(_, labels)] = messages["/segmentation/labels"]
    assert [(word.class_id, word.class_name) for word in labels.class_map] == list(enumerate(stamped[0][0].names))
    assert stamp_of(labels) == (10**18, "cam0")


@pytest.mark.parametrize("name", KINDS)
def test_it_is_a_source_again(tmp_path: Path, name: str, stamped: list[Found]) -> None:
    written(tmp_path / name, stamped, topic="?topic=/robot/masks")
    with open_source(f"bag:{tmp_path / name}?topic=/robot/masks") as source:
        frames = list(source)
    assert [frame.stamp for frame in frames] == [frame.stamp for _, frame in stamped]
    np.testing.assert_array_equal([frame.image[..., 0] for frame in frames], [result.mask for result, _ in stamped])


@pytest.mark.parametrize("name", KINDS)
def test_words_that_change_and_ids_of_sixteen_bits(
    tmp_path: Path, name: str, stamped: list[Found], renamed: Any
) -> None:
    words = tuple(map(str, range(301)))
    wide = np.array([[0, 300, 17]], np.uint16)
    result, frame = renamed(stamped[1], words)
    written(tmp_path / name, [stamped[0], (replace(result, mask=wide, threshold=0.25), frame), stamped[2]])
    messages = read(tmp_path / name)
    image = messages["/segmentation"][1][1]
    assert (image.encoding, image.is_bigendian) == ("mono16", 0)
    np.testing.assert_array_equal(image.data.view("<u2").reshape(1, 3), wide)
    labels = [message for _, message in messages["/segmentation/labels"]]
    assert [len(label.class_map) for label in labels] == [3, 301, 3]
    assert [label.threshold for label in labels] == [0.0, 0.25, 0.0]


def test_without_stamps_time_is_that_of_the_frames(tmp_path: Path, stamped: list[Found]) -> None:
    before_ns = time.time_ns()
    written(tmp_path / "out.mcap", [(result, replace(frame, stamp=None)) for result, frame in stamped])
    times_ns = [recorded_ns for recorded_ns, _ in read(tmp_path / "out.mcap")["/segmentation"]]
    assert before_ns <= times_ns[0] <= time.time_ns()
    assert np.diff(times_ns).tolist() == [10**8, 10**8]


@pytest.mark.parametrize(
    ("name", "left"), [("out.mcap", "out.partial.mcap"), ("out.bag", "out.partial.bag"), ("out", "out.partial")]
)
def test_a_stopped_one_can_be_read(tmp_path: Path, name: str, left: str, stamped: list[Found]) -> None:
    sink = written(tmp_path / name, stamped[:2], complete=False)
    assert sink.partial == tmp_path / left
    assert [path.name for path in tmp_path.iterdir()] == [left]
    assert len(read(tmp_path / left)["/segmentation"]) == 2
    again = written(tmp_path / name, stamped, complete=False)
    assert again.partial is not None
    assert "partial-2" in again.partial.name


def test_nothing_is_there_without_a_frame(tmp_path: Path) -> None:
    for name in KINDS:
        open_sink(f"bag:{tmp_path / name}", Source(), (), Outputs()).close(complete=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("there.mcap", "exists: choose another name, or add --overwrite"),
        ("folder", "exists, and a bag is a new folder: choose another name, or delete it"),
        ("", "given, expected bag:out.mcap"),
        ("out.db3", "given, expected bag:out.mcap, bag:out.bag"),
        ("out.mcap?topic=/2", "'/2' is no name of a ROS topic"),
    ],
)
def test_what_must_not_be_written(tmp_path: Path, name: str, match: str) -> None:
    (tmp_path / "there.mcap").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(SinkNameError, match=match):
        open_sink(f"bag:{tmp_path / name}" if name else "bag:", Source(), (), Outputs())


def test_what_is_there_is_replaced_when_asked(tmp_path: Path, stamped: list[Found]) -> None:
    path = tmp_path / "out.mcap"
    path.write_text("before")
    sink = open_sink(f"bag:{path}", Source(), (), Outputs(overwrite=True))
    sink.write(*stamped[0], stamped[0][1].image)
    assert path.read_text() == "before"
    sink.close(complete=True)
    assert len(read(path)["/segmentation"]) == 1


def test_a_full_disk_is_told_and_the_rest_stays(
    tmp_path: Path, stamped: list[Found], monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = open_sink(f"bag:{tmp_path / 'out.mcap'}", Source(), (), Outputs())
    sink.write(*stamped[0], stamped[0][1].image)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    assert isinstance(sink, BagSink)
    monkeypatch.setattr(sink._writer, "write", full)
    with pytest.raises(WriteError, match="No space left on device"):
        sink.write(*stamped[1], stamped[1][1].image)
    monkeypatch.undo()
    sink.close(complete=False)
    assert len(read(tmp_path / "out.partial.mcap")["/segmentation"]) == 1


def test_a_place_that_cannot_be_written_is_told(
    tmp_path: Path, stamped: list[Found], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for name, writer in (("out.mcap", "rosbags.rosbag2.Writer.open"), ("out.bag", "rosbags.rosbag1.Writer.open")):
        monkeypatch.setattr(writer, full)
        sink = open_sink(f"bag:{tmp_path / name}", Source(), (), Outputs())
        with pytest.raises(WriteError, match="No space left on device"):
            sink.write(*stamped[0], stamped[0][1].image)
        sink.close(complete=False)
    assert not list(tmp_path.iterdir())


def test_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rosbags.typesys", None)
    with pytest.raises(SinkError, match=r'rosbags, which is not installed: `pip install "tcl-edge\[ros\]"`'):
        open_sink(f"bag:{tmp_path / 'out.mcap'}", Source(), (), Outputs())
