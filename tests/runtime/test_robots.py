"""A robot's camera in, masks out, by the command. Oracles: another process with Cyclone DDS, the segmenter, rosbags."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import Segmenter
from runtime.ros.dds import LOCALHOST
from runtime.sources.open import open_source
from tests.runtime.ros import definitions as ros
from tests.runtime.ros.bags import image, write_bag
from tests.runtime.ros.publisher import DOMAIN, Publisher

ROOT = Path(__file__).parents[2]
WORDS = "car, road"
BEGIN = 1_700_000_000


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    with open_source("test://cars") as source:
        return np.ascontiguousarray(next(iter(source)).image[::2, ::2])


@pytest.fixture(scope="module")
def expected(picture: np.ndarray) -> Any:
    with Segmenter("tiny", WORDS) as segmenter:
        return segmenter(picture)


def heard(reader: Any, count: int, seconds: float = 30.0) -> list[Any]:
    end_s = time.monotonic() + seconds
    messages: list[Any] = []
    while len(messages) < count:
        assert time.monotonic() < end_s
        messages += [message for message in reader.take(100) if message.sample_info.valid_data]
        time.sleep(0.01)
    return messages


def ids(message: Any, like: np.ndarray) -> np.ndarray:
    return np.frombuffer(bytes(message.data), np.uint8).reshape(like.shape)


def test_pictures_in_masks_out(
    picture: np.ndarray, expected: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CYCLONEDDS_URI", LOCALHOST)
    monkeypatch.setenv("ROS_DOMAIN_ID", str(DOMAIN))
    height, width = picture.shape[:2]

    def message(number: int) -> ros.Image:
        header = ros.Header(ros.Time(BEGIN + number, 5), "camera_optical_frame")
        return ros.Image(header, height, width, "bgr8", 0, 3 * width, data)

    data = picture.tobytes()
    command = [
        sys.executable,
        "-m",
        "runtime",
        "ros2:/camera/image_raw",
        "ros2:/segmentation",
        f"bag:{tmp_path}/out.mcap",
    ]
    with Publisher() as robot:
        robot.send("/camera/image_raw", message, every_s=0.2)
        masks = robot.listen("/segmentation", ros.Image)
        running = subprocess.Popen(
            [*command, "--headless", "--classes", WORDS, "--threads", "1"],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            found = heard(masks, 3)
            labels = robot.listen("/segmentation/labels", ros.LabelInfo, latched=True)  # after they were sent
            [words] = heard(labels, 1)
            running.send_signal(signal.SIGTERM)  # SIGINT is ignored where the tests run in the background
            _, told = running.communicate(timeout=100)
        finally:
            running.kill()
            running.wait()
    assert running.returncode == 143, told
    assert [(word.class_id, word.class_name) for word in words.class_map] == list(enumerate(expected.names))
    stamps = [mask.header.stamp.sec for mask in found]
    assert stamps == sorted(set(stamps))
    assert stamps[0] >= BEGIN
    for mask in found:
        assert (mask.header.stamp.nanosec, mask.header.frame_id) == (5, "camera_optical_frame")
        np.testing.assert_array_equal(ids(mask, expected.mask), expected.mask)
    with open_source(f"bag:{tmp_path}/out.mcap?topic=/segmentation") as recorded:  # live, so that it is whole
        frames = list(recorded)
    for frame in frames:
        assert frame.stamp is not None
        assert frame.stamp.nanoseconds >= BEGIN * 10**9
        assert (frame.stamp.nanoseconds % 10**9, frame.stamp.frame_id) == (5, "camera_optical_frame")
        np.testing.assert_array_equal(frame.image[..., 0], expected.mask)


def test_a_bag_in_a_bag_out(picture: np.ndarray, expected: Any, tmp_path: Path) -> None:
    stamps = [BEGIN * 10**9 + n * 10**8 for n in range(3)]
    bag = write_bag(
        tmp_path / "in.bag",
        [("/camera", "sensor_msgs/msg/Image", {**image(picture), "stamp": (s, "cam")}) for s in stamps],
    )
    command = [sys.executable, "-m", "runtime", f"bag:{bag}", f"bag:{tmp_path}/out.bag", "--classes", WORDS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    with open_source(f"bag:{tmp_path}/out.bag?topic=/segmentation") as source:
        frames = list(source)
    assert [frame.stamp and frame.stamp.nanoseconds for frame in frames] == stamps
    for frame in frames:
        np.testing.assert_array_equal(frame.image[..., 0], expected.mask)
