"""Cameras. Oracle: what a capture gives that the test drives; there is no camera on a build machine."""

import itertools

import cv2
import numpy as np
import pytest

from runtime.errors import SourceError
from runtime.sources.camera import CameraSource


def test_a_missing_camera_is_explained() -> None:
    with pytest.raises(SourceError, match=r"camera 93 cannot be opened \(cameras present"):
        CameraSource(93)


def test_a_camera_gives_its_newest_frame_and_counts_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: an endless capture whose n-th frame is filled with n; there is no camera on a build machine."""

    class Counter:
        def __init__(self, _: object) -> None:
            self.n = 0

        def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
            return True

        def get(self, _: int) -> float:
            return float("nan")

        def read(self) -> tuple[bool, np.ndarray | None]:
            self.n += 1
            return (True, np.full((2, 2, 3), self.n, np.uint8)) if self.n <= 200 else (False, None)

        def release(self) -> None:
            self.n = -1

    monkeypatch.setattr(cv2, "VideoCapture", Counter)
    with CameraSource(0, timeout_s=0.2) as source:
        assert source.fps is None
        source._reader.join()  # all 200 frames have come before anyone asks
        (frame,) = itertools.islice(source, 1)
        assert (frame.image == 200).all()
        assert source.dropped == 199
        with pytest.raises(SourceError, match="or was unplugged"):
            next(iter(source))
