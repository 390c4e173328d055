"""Cameras. Oracle: what a capture gives that the test drives; there is no camera on a build machine."""

import math
import queue
import threading
import time

import cv2
import numpy as np
import pytest

from runtime.errors import SourceError
from runtime.sources import camera
from runtime.sources.camera import CameraSource
from runtime.sources.open import open_source


class Capture:
    """As OpenCV's. A number put into `coming` is a frame filled with it; None is the end."""

    rate = 30.0

    def __init__(self, camera: int | str) -> None:
        self.camera, self.released = camera, False
        self.coming: queue.SimpleQueue[int | None] = queue.SimpleQueue()

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return True

    def get(self, _: int) -> float:
        return self.rate

    def read(self) -> tuple[bool, np.ndarray | None]:
        number = self.coming.get()
        return (False, None) if number is None else (True, np.full((2, 2, 3), number, np.uint8))

    def release(self) -> None:
        self.released = True


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> list[Capture]:
    """What has been opened."""
    opened: list[Capture] = []

    def open_capture(camera: int | str) -> Capture:
        opened.append(Capture(camera))
        return opened[-1]

    monkeypatch.setattr(cv2, "VideoCapture", open_capture)
    return opened


def reader() -> threading.Thread:
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "camera 0")
    return thread


def test_a_missing_camera_is_explained() -> None:
    with pytest.raises(SourceError, match=r"camera 93 cannot be opened \(cameras present"):
        CameraSource(93)


def test_a_camera_gives_its_newest_frame_and_counts_the_others(captures: list[Capture]) -> None:
    with CameraSource(0) as source:
        reading = reader()
        for number in (*range(1, 201), None):
            captures[0].coming.put(number)
        reading.join()  # all 200 frames have come before anyone asks
        frames = iter(source)
        assert (next(frames).image == 200).all()
        assert (source.live, source.dropped, source.problems) == (True, 199, [])
        with pytest.raises(SourceError, match="or was unplugged"):
            next(frames)
        assert not captures[0].released
    assert captures[0].released


def test_frames_are_waited_for_numbered_and_timed(captures: list[Capture], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "monotonic", iter([100.5, 102.0, 103.0]).__next__)
    begin = time.monotonic()
    given = []
    with CameraSource(0, timeout_s=20) as source:
        frames = iter(source)
        for number in (7, 8):
            threading.Timer(0.02, captures[0].coming.put, [number]).start()
            frame = next(frames)
            given.append((frame.index, frame.name, frame.time_s, frame.image[0, 0, 0]))
        captures[0].coming.put(None)
    assert given == [(0, "000000", 0, 7), (1, "000001", 1.5, 8)]
    assert source.dropped == 0
    assert time.monotonic() - begin < 15  # woken by the frame, not by the end of its patience


def test_closing_waits_for_the_frame_that_is_being_read(captures: list[Capture]) -> None:
    with CameraSource(0, timeout_s=20):
        threading.Timer(0.02, captures[0].coming.put, [1]).start()
    assert captures[0].released


def test_a_silent_camera_is_given_up_and_left_to_its_thread(captures: list[Capture]) -> None:
    with CameraSource(0, timeout_s=0.05) as source:
        reading = reader()
        assert reading.daemon  # a driver that hangs does not keep the program from ending
        with pytest.raises(SourceError, match=r"camera 0 sent no frame for 0\.05 s"):
            next(iter(source))
    assert reading.is_alive()
    assert not captures[0].released
    captures[0].coming.put(1)
    reading.join(20)
    assert not reading.is_alive()


@pytest.mark.parametrize(
    ("rate", "fps"),
    [(0.5, 0.5), (1000.0, 1000.0), (1000.5, None), (0.0, None), (-1.0, None), (math.nan, None), (math.inf, None)],
)
def test_a_rate_that_means_nothing_is_none(
    rate: float, fps: float | None, captures: list[Capture], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Capture, "rate", rate)
    with CameraSource(0) as source:
        captures[0].coming.put(None)
    assert source.fps == fps


@pytest.mark.parametrize(("name", "camera"), [("0", 0), ("/dev/video7", "/dev/video7")])
def test_cameras_are_named_by_number_or_device(name: str, camera: int | str, captures: list[Capture]) -> None:
    with open_source(name) as source:
        captures[0].coming.put(None)
    assert isinstance(source, CameraSource)
    assert captures[0].camera == camera
