"""Results on the network. Oracle: what another participant hears, through Cyclone DDS's own classes."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.errors import SinkError, SinkNameError
from runtime.ros.dds import LOCALHOST
from runtime.segmentation import Segmentation
from runtime.sinks.open import open_sink
from runtime.sinks.output import Outputs
from runtime.sinks.ros2 import Ros2Sink
from runtime.sources.source import Frame, Source, Stamp
from tests.runtime.ros import definitions as ros
from tests.runtime.ros.publisher import DOMAIN, Policy, Publisher

ROOT = Path(__file__).parents[3]

Found = tuple[Segmentation, Frame]


@pytest.fixture(autouse=True)
def _loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CYCLONEDDS_URI", LOCALHOST)
    monkeypatch.setenv("ROS_DOMAIN_ID", str(DOMAIN))


@pytest.fixture
def robot() -> Iterator[Publisher]:
    with Publisher() as robot:
        yield robot


@pytest.fixture
def found(frames: list[Found]) -> Found:
    result, frame = frames[0]
    picture = np.random.default_rng(3).integers(0, 256, frame.image.shape, np.uint8)
    return result, replace(frame, image=picture, stamp=Stamp(10**18 + 7, "optical"))


def opened(topic: str = "/segmentation", **about: Any) -> Ros2Sink:
    source = Source()
    vars(source).update(about)
    sink = open_sink(f"ros2:{topic}", source, (), Outputs())
    assert isinstance(sink, Ros2Sink)
    return sink


def heard(reader: Any, count: int = 1) -> list[Any]:
    end_s = time.monotonic() + 5.0
    messages: list[Any] = []
    while len(messages) < count:
        assert time.monotonic() < end_s
        messages += [message for message in reader.take(100) if message.sample_info.valid_data]
        time.sleep(0.005)
    return messages


def wait(true: Callable[[], bool], seconds: float = 5.0) -> None:
    end_s = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end_s
        time.sleep(0.005)


def stamp_of(message: Any) -> tuple[int, str]:
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec, message.header.frame_id


def test_masks_overlay_and_words(robot: Publisher, found: Found) -> None:
    result, frame = found
    masks = robot.listen("/segmentation", ros.Image)
    overlays = robot.listen("/segmentation/overlay", ros.Image)
    sink = opened()
    assert sink.paints
    wait(lambda: sink._masks.heard and sink._overlays.heard)
    sink.write(result, frame, frame.image)
    [mask], [overlay] = heard(masks), heard(overlays)
    assert (mask.encoding, mask.height, mask.width, mask.step, mask.is_bigendian) == ("mono8", 60, 80, 80, 0)
    np.testing.assert_array_equal(np.array(mask.data).reshape(60, 80), result.mask)
    assert (overlay.encoding, overlay.height, overlay.width, overlay.step) == ("bgr8", 60, 80, 240)
    np.testing.assert_array_equal(np.array(overlay.data).reshape(60, 80, 3), frame.image)
    labels = robot.listen("/segmentation/labels", ros.LabelInfo, latched=True)  # who comes later
    [words] = heard(labels)
    assert [(word.class_id, word.class_name) for word in words.class_map] == list(enumerate(result.names))
    assert {stamp_of(mask), stamp_of(overlay), stamp_of(words)} == {(10**18 + 7, "optical")}
    [seen] = [masks.get_matched_publication_data(handle) for handle in masks.get_matched_publications()]
    assert seen.type_name == "sensor_msgs::msg::dds_::Image_"
    assert seen.qos[Policy.Userdata].data == f"typehash={ros.store().hash_rihs01('sensor_msgs/msg/Image')};".encode()
    sink.close(complete=True)
    sink.close(complete=True)


def test_words_that_change_are_told_again(robot: Publisher, found: Found, renamed: Any) -> None:
    """And ids of 16 bits are mono16; without a listener nothing is made of the pictures."""
    labels = robot.listen("/segmentation/labels", ros.LabelInfo, latched=True)
    masks = robot.listen("/segmentation", ros.Image)
    sink = opened()
    wait(lambda: sink._masks.heard and sink._labels.heard)
    assert not sink._overlays.heard
    many = renamed(found, tuple(map(str, range(301))))
    wide = np.array([[0, 300, 17]], np.uint16)
    for result, frame in (found, found, (replace(many[0], mask=wide, threshold=0.25), many[1])):
        sink.write(result, frame, frame.image)
        heard(masks) if result.mask is not wide else None
    words = heard(labels, 2)
    assert [(len(word.class_map), word.threshold) for word in words] == [(3, 0.0), (301, 0.25)]
    [mask] = heard(masks)
    assert mask.encoding == "mono16"
    np.testing.assert_array_equal(np.frombuffer(bytes(mask.data), "<u2").reshape(1, 3), wide)
    sink.close(complete=True)


def test_without_a_stamp_it_is_that_of_the_clock(robot: Publisher, found: Found) -> None:
    masks = robot.listen("/segmentation", ros.Image)
    sink = opened()
    wait(lambda: sink._masks.heard)
    before_ns = time.time_ns()
    sink.write(found[0], replace(found[1], stamp=None), found[1].image)
    [mask] = heard(masks)
    assert before_ns <= stamp_of(mask)[0] <= time.time_ns()
    sink.close(complete=True)


LISTENER = """
import sys, time
from tests.runtime.ros import definitions
from tests.runtime.ros.publisher import Publisher
robot = Publisher(int(sys.argv[1]))
reader = robot.listen("/segmentation", definitions.Image)
time.sleep(60)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no SIGSTOP on this system")
def test_a_listener_that_hangs_is_not_waited_for(found: Found) -> None:
    """Fifty pictures of two megabytes, which it could only take one after the other."""
    sink = opened()
    listener = subprocess.Popen([sys.executable, "-c", LISTENER, str(DOMAIN)], cwd=ROOT)
    try:
        wait(lambda: sink._masks.heard, 20.0)
        listener.send_signal(signal.SIGSTOP)
        large = replace(found[0], mask=np.zeros((1080, 1920), np.uint8))
        begin_s = time.monotonic()
        for _ in range(50):
            sink.write(large, found[1], found[1].image)
        sink.close(complete=True)
        assert time.monotonic() - begin_s < 10.0
    finally:
        listener.kill()
        listener.wait()


@pytest.mark.parametrize("name", ["ros2:/segmentation", "ros2:/segmentation/overlay", "ros2:/segmentation/labels"])
def test_a_source_is_no_result(name: str) -> None:
    with pytest.raises(SinkNameError, match=r"the topic .* is the source itself: choose another one"):
        opened(name=name)


def test_two_results_have_two_topics() -> None:
    outputs = Outputs()
    sink = open_sink("ros2:/segmentation", Source(), (), outputs)
    with pytest.raises(
        SinkNameError, match=f"would be sent to ros2:/segmentation in domain {DOMAIN}: give each a name"
    ):
        open_sink("ros2:segmentation", Source(), (), outputs)
    sink.close(complete=True)


@pytest.mark.parametrize("topic", ["", "/", "/a-b", "/a?type=raw", "/a?domain=300", "//a"])
def test_how_it_is_written(topic: str) -> None:
    with pytest.raises(SinkNameError, match="given, expected|is no name of a ROS topic"):
        opened(topic)


def test_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cyclonedds.core", None)
    with pytest.raises(SinkError, match=r'not installed: `pip install "tcl-edge\[ros\]"`'):
        opened()
