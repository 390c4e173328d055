"""The newest frame of a local camera."""

import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import cv2

from runtime.errors import SourceError
from runtime.frame import BGR, as_bgr
from runtime.sources.source import Frame, Source


class CameraSource(Source):
    """The newest frame of a local camera; a thread reads so that a slow consumer never sees old frames."""

    live = True
    ends = False

    def __init__(self, camera: int | str, *, timeout_s: float = 5.0) -> None:
        super().__init__()
        self._name = f"camera {camera}"
        self._timeout_s = timeout_s
        self._capture = cv2.VideoCapture(camera)
        if not self._capture.isOpened():
            present = ", ".join(sorted(map(str, Path("/dev").glob("video*")))) or "none"
            raise SourceError(
                f"{self._name} cannot be opened (cameras present: {present}): is it plugged in, used by another "
                "program, and are you in the group `video`?"
            )
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = rate if 0 < rate <= 1000 else None  # NaN, too, is no rate
        self._arrived = threading.Condition()
        self._newest: tuple[BGR, float] | None = None  # with the time of its arrival
        self._closing = False
        self._ended = False
        self._reader = threading.Thread(target=self._read, name=self._name, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while not self._closing:
            captured, image = self._capture.read()
            arrived_s = monotonic()
            with self._arrived:
                self._ended = not captured
                if captured:
                    self.dropped += self._newest is not None
                    self._newest = as_bgr(image), arrived_s
                self._arrived.notify()
            if not captured:
                return

    def __iter__(self) -> Iterator[Frame]:
        """Yield the newest frame each time.

        Raises:
            SourceError: the camera ended, or sent nothing for `timeout_s`.
        """
        begin_s: float | None = None
        index = 0
        while True:
            with self._arrived:
                self._arrived.wait_for(lambda: self._newest is not None or self._ended, self._timeout_s)
                newest, self._newest = self._newest, None
            if newest is None:
                raise SourceError(f"{self._name} sent no frame for {self._timeout_s:g} s, or was unplugged")
            image, arrived_s = newest
            begin_s = arrived_s if begin_s is None else begin_s
            yield Frame(image, index, arrived_s - begin_s, f"{index:06d}")
            index += 1

    def close(self) -> None:
        """Stop reading and release the camera; a driver that hangs in a read is left to its thread."""
        self._closing = True
        self._reader.join(self._timeout_s)
        if not self._reader.is_alive():
            self._capture.release()
