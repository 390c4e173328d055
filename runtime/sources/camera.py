"""Local cameras, by Video4Linux or whatever OpenCV finds on other systems."""

import os
import threading
from pathlib import Path

import cv2

from runtime.errors import SourceError
from runtime.frame import as_bgr
from runtime.sources.live import PATIENCE, LiveSource, Patience, Picture

BY_ID = Path("/dev/v4l/by-id")
"""Names that a camera keeps when it is plugged in again and gets another number."""


class CameraCapture:
    """An open camera.

    Args:
        camera: its number, or device.

    Raises:
        SourceError: it cannot be opened.
    """

    def __init__(self, camera: int | str) -> None:
        self._name = f"camera {camera}"
        self._capture = cv2.VideoCapture(camera)
        if not self._capture.isOpened():
            present = ", ".join(sorted(map(str, Path("/dev").glob("video*")))) or "none"
            raise SourceError(
                f"{self._name} cannot be opened (cameras present: {present}): is it plugged in, used by another "
                "program, and are you in the group `video`?"
            )
        self.fps: float | None = self._capture.get(cv2.CAP_PROP_FPS)
        self._reading = threading.Lock()
        self._closed = False

    def read(self) -> Picture:
        """Wait for the next picture; a driver that hangs is left to wait."""
        with self._reading:
            captured, image = (False, None) if self._closed else self._capture.read()
        if not captured or image is None:
            raise SourceError(f"{self._name} sends no more pictures: was it unplugged?")
        return Picture(as_bgr(image))

    def close(self) -> None:
        """Release it, after the picture that is being read."""
        self._closed = True
        with self._reading:  # OpenCV crashes when it is released under a read
            self._capture.release()


class _Camera:
    """A camera that is found again under another number, if the system has a lasting name for it."""

    def __init__(self, camera: int | str) -> None:
        self._camera = camera
        device = f"/dev/video{camera}" if isinstance(camera, int) else camera
        names = BY_ID.iterdir() if BY_ID.is_dir() else ()
        self._lasting = next(
            (name for name in sorted(names) if os.path.realpath(name) == os.path.realpath(device)), None
        )

    def __call__(self) -> CameraCapture:
        if self._lasting is not None and self._lasting.is_symlink():
            return CameraCapture(os.path.realpath(self._lasting))
        # OpenCV knows devices by the names that end in a number.
        return CameraCapture(self._camera if isinstance(self._camera, int) else os.path.realpath(self._camera))


def open_camera(camera: int | str, *, patience: Patience = PATIENCE, wait: bool = True) -> LiveSource:
    """Open a camera, and again whenever it is lost.

    Args:
        camera: its number, or device.
        patience: see `LiveSource`.
        wait: see `LiveSource`.

    Raises:
        SourceError: it cannot be opened, or sends nothing.
    """
    return LiveSource(f"camera {camera}", _Camera(camera), patience=patience, wait=wait)
