"""Cameras. Oracle: what a capture gives that the test drives; there is no camera on a build machine."""

import math
import queue
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.errors import SourceError
from runtime.sources import camera as cameras
from runtime.sources.camera import CameraCapture, open_camera
from runtime.sources.live import LiveSource, Patience
from runtime.sources.open import open_source

QUICK = Patience(stale=0.2, lost=0.3, first=5.0, retry=0.01)


class Capture:
    """As OpenCV's. A number put into `coming` is a frame filled with it; None is the end."""

    rate = 30.0
    patience_s = 0.1

    def __init__(self, camera: int | str) -> None:
        self.camera, self.released, self.reading = camera, False, False
        self.coming: queue.SimpleQueue[int | None] = queue.SimpleQueue()

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return True

    def get(self, _: int) -> float:
        return self.rate

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.reading = True
        try:
            number = self.coming.get(timeout=self.patience_s)
        except queue.Empty:
            number = None
        self.reading = False
        return (False, None) if number is None else (True, np.full((2, 2, 3), number, np.uint8))

    def release(self) -> None:
        assert not self.reading
        self.released = True


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> list[Capture]:
    """What has been opened; each sends a first picture."""
    opened: list[Capture] = []

    def open_capture(camera: int | str) -> Capture:
        opened.append(Capture(camera))
        opened[-1].coming.put(1)
        return opened[-1]

    monkeypatch.setattr(cv2, "VideoCapture", open_capture)
    return opened


def test_a_missing_camera_is_explained() -> None:
    with pytest.raises(SourceError, match=r"camera 93 cannot be opened \(cameras present"):
        open_camera(93)


def test_a_camera_that_is_plugged_in_again_comes_back_under_its_new_number(
    captures: list[Capture], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cameras, "BY_ID", tmp_path)
    (tmp_path / "usb-a").symlink_to("/dev/video7")
    (tmp_path / "usb-b").symlink_to("/dev/video0")
    with open_camera(0, patience=QUICK) as source:
        frames = source.frames(0.05)
        assert next(frames) is not None
        (tmp_path / "usb-b").unlink()
        (tmp_path / "usb-b").symlink_to("/dev/video2")
        captures[0].coming.put(None)
        while next(frames) is None:
            pass
        captures[-1].coming.put(None)
    assert [capture.camera for capture in captures[:2]] == ["/dev/video0", "/dev/video2"]
    assert captures[0].released


def test_a_camera_that_another_program_has_is_taken_when_it_is_free(
    captures: list[Capture], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Capture, "isOpened", lambda self: len(captures) > 3)
    with pytest.raises(SourceError, match="camera 0 cannot be opened .*: is it plugged in, used by another program"):
        open_camera(0)
    with open_camera(0, patience=QUICK, wait=False) as source:
        assert source.state == "reconnecting"
        assert next(iter(source)).image.shape == (2, 2, 3)
        assert len(captures) >= 4
        captures[-1].coming.put(None)


def test_what_hangs_in_a_read_is_released_after_it(captures: list[Capture]) -> None:
    capture = CameraCapture(0)
    captures[0].patience_s = 10
    capture.read()
    reading = threading.Thread(target=capture.read)
    reading.start()
    while not captures[0].reading:
        pass
    closing = threading.Thread(target=capture.close)
    closing.start()
    closing.join(0.05)
    assert not captures[0].released
    captures[0].coming.put(1)
    closing.join(10)
    reading.join(10)
    assert captures[0].released
    with pytest.raises(SourceError, match="was it unplugged"):
        capture.read()


@pytest.mark.parametrize(
    ("rate", "fps"),
    [(0.5, 0.5), (1000.0, 1000.0), (1000.5, None), (0.0, None), (-1.0, None), (math.nan, None), (math.inf, None)],
)
def test_a_rate_that_means_nothing_is_none(
    rate: float, fps: float | None, captures: list[Capture], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Capture, "rate", rate)
    with open_camera(0) as source:
        captures[0].coming.put(None)
    assert source.fps == fps


@pytest.mark.parametrize(("name", "camera"), [("0", 0), ("/dev/video7", "/dev/video7")])
def test_cameras_are_named_by_number_or_device(name: str, camera: int | str, captures: list[Capture]) -> None:
    with open_source(name) as source:
        captures[0].coming.put(None)
    assert isinstance(source, LiveSource)
    assert captures[0].camera == camera
