"""A robot's topic. Oracle: what another participant publishes through Cyclone DDS's own classes, on the loopback."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import cv2
import numpy as np
import pytest

from runtime.errors import SourceError, SourceNotFoundError
from runtime.ros.dds import LOCALHOST, domain_of, is_local, topic_of
from runtime.ros.message import COMPRESSED, IMAGE
from runtime.sources import ros2
from runtime.sources.live import LiveSource, Patience
from runtime.sources.open import open_source, open_sources
from runtime.sources.ros2 import Ros2Capture, open_ros2
from tests.runtime.ros import definitions as ros
from tests.runtime.ros.publisher import DOMAIN, Publisher

QUICK = Patience(stale=0.2, lost=0.4, first=5.0, retry=0.01)
PICTURE = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)


@pytest.fixture(autouse=True)
def _loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CYCLONEDDS_URI", LOCALHOST)
    monkeypatch.setenv("ROS_DOMAIN_ID", str(DOMAIN))
    monkeypatch.setattr(ros2, "DISCOVERY_S", 0.3)


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher() as publisher:
        yield publisher


def image(picture: np.ndarray, nanoseconds: int = 0, encoding: str = "bgr8") -> ros.Image:
    header = ros.Header(ros.Time(nanoseconds // 10**9, nanoseconds % 10**9), "optical")
    height, width = picture.shape[:2]
    return ros.Image(header, height, width, encoding, 0, picture.nbytes // height, picture.tobytes())


def compressed(picture: np.ndarray) -> ros.CompressedImage:
    _, data = cv2.imencode(".png", picture)
    return ros.CompressedImage(ros.Header(ros.Time(7, 8), "packed"), "png", data.tobytes())


opened = partial(open_ros2, patience=QUICK)


@pytest.mark.parametrize("reliable", [True, False])
def test_pictures_come_with_their_stamps(publisher: Publisher, reliable: bool) -> None:
    publisher.send("/camera/image_raw", lambda n: image(PICTURE + n, 10**18 + n), reliable=reliable)
    with open_source("ros2:/camera/image_raw") as source:
        assert isinstance(source, LiveSource)
        assert source.state == "live"
        assert (source.fps, source.count, source.ends) == (None, None, False)
        frames = iter(source)
        for _ in range(3):
            frame = next(frames)
            assert frame.stamp is not None
            number = frame.stamp.nanoseconds - 10**18
            np.testing.assert_array_equal(frame.image, PICTURE + np.uint8(number))
            assert frame.stamp.frame_id == "optical"


def test_compressed_pictures_are_taken_where_no_others_are(publisher: Publisher) -> None:
    publisher.send("/camera/compressed", lambda _: compressed(PICTURE))
    with opened("ros2:/camera/compressed") as source:
        frame = next(iter(source))
    np.testing.assert_array_equal(frame.image, PICTURE)
    assert frame.stamp is not None
    assert (frame.stamp.nanoseconds, frame.stamp.frame_id) == (7 * 10**9 + 8, "packed")


def test_the_kind_and_the_domain_can_be_told(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", "0")
    publisher.send("/both", lambda _: image(PICTURE))
    publisher.send("/both2", lambda _: compressed(PICTURE))
    with opened(f"ros2:/both2?type=compressed&domain={DOMAIN}&reliability=best_effort") as source:
        assert next(iter(source)).stamp == ros2.Stamp(7 * 10**9 + 8, "packed")
    with pytest.raises(SourceError, match=f"/both has messages {IMAGE}, expected {COMPRESSED}; topics with pictures"):
        opened(f"ros2:/both?type=compressed&domain={DOMAIN}")


def test_what_is_there_instead_is_told(publisher: Publisher) -> None:
    with pytest.raises(
        SourceError, match=f"nobody publishes /camera in the ROS domain {DOMAIN}, nor any other topic: is"
    ):
        opened("ros2:/camera")
    labels = ros.LabelInfo(ros.Header(ros.Time(0, 0), ""), [], 0.0)
    publisher.send("/names", lambda _: labels)
    with pytest.raises(SourceError, match="topics there, none of them with pictures: /names"):
        opened("ros2:/camera")
    with pytest.raises(SourceError, match=f"/names has messages vision_msgs/msg/LabelInfo, expected {IMAGE} or"):
        opened("ros2:/names")
    publisher.send("/left", lambda _: image(PICTURE))
    with pytest.raises(SourceError, match="topics with pictures: /left$"):
        opened("ros2:/right")


def test_what_is_no_picture_is_told_at_once(publisher: Publisher) -> None:
    publisher.send("/depth", lambda _: image(PICTURE, encoding="32FC1"))
    with pytest.raises(SourceError, match="/depth: images as 32FC1 hold distances"):
        opened("ros2:/depth")


def test_a_damaged_message_among_others_is_left_out(publisher: Publisher) -> None:
    """Every second is cut short; and the others, and the connection, stay."""

    def send(number: int) -> ros.Image:
        message = image(PICTURE, number)
        return ros.Image(message.header, 4, 6, "bgr8", 0, 18, message.data[:-1]) if number % 2 else message

    publisher.send("/camera", send)
    capture = capture_of("/camera")
    try:
        first = capture.read()  # begins with a good one, or is told: the first must be one
    except SourceError as error:
        assert "brings 71 bytes, expected 72" in str(error)  # noqa: PT017 - either may come first
        first = capture.read()
    for _ in range(3):
        picture = capture.read()
        assert picture is not None
        assert picture.stamp is not None
        assert picture.stamp.nanoseconds % 2 == 0
    assert first is not None
    capture.close()


def capture_of(topic: str, environment: dict[str, str] | None = None) -> Ros2Capture:
    return Ros2Capture(topic, [IMAGE, COMPRESSED], DOMAIN, environment=environment or {}, best_effort=False)


def test_a_robot_that_is_restarted_is_found_again(publisher: Publisher) -> None:
    publisher.send("/camera", lambda _: image(PICTURE))
    with opened("ros2:/camera") as source:
        next(iter(source))
        publisher.close()
        until(lambda: source.state == "reconnecting")
        with Publisher() as restarted:
            restarted.send("/camera", lambda _: image(255 - PICTURE))
            until(lambda: source.state == "live" and source.reconnects == 1)
            frame = next(frame for frame in source if frame.image[0, 0, 0] == 255 - PICTURE[0, 0, 0])
    np.testing.assert_array_equal(frame.image, 255 - PICTURE)


def until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    end_s = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end_s
        time.sleep(0.01)


@pytest.mark.parametrize("published", [True, False])
def test_closing_ends_a_read_that_waits(publisher: Publisher, published: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a publisher, or for its next picture."""
    monkeypatch.setattr(ros2, "DISCOVERY_S", 30.0)
    if published:
        publisher.send("/camera", lambda _: image(PICTURE), times=1)
    capture = capture_of("/camera")
    read: list[Any] = []
    reading = threading.Thread(target=lambda: read.extend(iter(capture.read, None)))
    reading.start()
    time.sleep(0.3)
    begin_s = time.monotonic()
    capture.close()
    reading.join(5.0)
    assert time.monotonic() - begin_s < 0.9
    assert len(read) <= 1
    assert capture.read() is None
    capture.close()


def test_this_machine_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As ROS 2 is told; Cyclone DDS refuses a configuration that it cannot read."""
    assert not is_local({})
    assert not is_local({"ROS_LOCALHOST_ONLY": "0", "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"})
    assert is_local({"ROS_LOCALHOST_ONLY": "1"})
    assert is_local({"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"})
    for before in ("", None, "<CycloneDDS/>"):
        monkeypatch.delenv("CYCLONEDDS_URI") if before is None else monkeypatch.setenv("CYCLONEDDS_URI", before)
        capture = capture_of("/camera", {"ROS_LOCALHOST_ONLY": "1"})
        assert ros2.os.environ.get("CYCLONEDDS_URI") == before
        with pytest.raises(SourceError, match="as far as this machine alone is looked at"):
            capture.read()
        capture.close()


def test_a_configuration_that_is_wrong_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CYCLONEDDS_URI", "<CycloneDDS><Domain><Wrong/></Domain></CycloneDDS>")
    with pytest.raises(SourceError, match=f"the ROS domain {DOMAIN} cannot be entered .*is CYCLONEDDS_URI"):
        capture_of("/camera")


@pytest.mark.parametrize(
    ("source", "match"),
    [
        ("ros2:", "'' is no name of a ROS topic"),
        ("ros2:/camera/", "'/camera/' is no name"),
        ("ros2:/2d", "is no name"),
        ("ros2://camera", "given, expected ros2:/camera/image_raw"),
        ("ros2:/camera?type=jpeg", "type=raw or compressed"),
        ("ros2:/camera?topic=x", "given, expected"),
        ("ros2:/camera?reliability=reliable", "reliability=best_effort"),
        ("ros2:/camera?domain=233", "domain=233 given, expected the number of a ROS domain, 0 to 232"),
        ("ros2:/camera?domain=-1", "domain=-1 given"),
    ],
)
def test_how_it_is_written(source: str, match: str) -> None:
    with pytest.raises(SourceNotFoundError, match=match.replace("?", r"\?")):
        open_source(source)


def test_the_domain_is_that_of_ros() -> None:
    assert topic_of("camera/image_raw", SourceNotFoundError) == "/camera/image_raw"
    assert domain_of(None, {}, SourceNotFoundError) == 0
    assert domain_of(None, {"ROS_DOMAIN_ID": "42"}, SourceNotFoundError) == 42
    assert domain_of("7", {"ROS_DOMAIN_ID": "42"}, SourceNotFoundError) == 7
    with pytest.raises(SourceNotFoundError, match="ROS_DOMAIN_ID=street given"):
        domain_of(None, {"ROS_DOMAIN_ID": "street"}, SourceNotFoundError)


def test_it_never_ends_and_stands_alone() -> None:
    with pytest.raises(SourceNotFoundError, match="never ends: give it alone"):
        open_sources(["ros2:/camera", "test://cars"])


def test_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cyclonedds.core", None)
    with pytest.raises(SourceError, match=r'not installed: `pip install "tcl-edge\[ros\]"`'):
        open_source("ros2:/camera", wait=False)
