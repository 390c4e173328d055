"""Every frame of a video file."""

from collections.abc import Iterator
from pathlib import Path

import cv2

from runtime.errors import SourceError
from runtime.frame import as_bgr
from runtime.sources.source import Frame, Source


class VideoSource(Source):
    """Every frame of a video file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        if path.stat().st_size == 0:
            raise SourceError(f"video {path} is empty (0 bytes): copy or record it again")
        self._path = path
        self.inputs = [path]
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise SourceError(f"{path} is no video that FFmpeg can read: check it with `ffprobe {path}`")
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = rate if 0 < rate <= 1000 else None  # NaN, too, is no rate
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.count = count if count > 0 else None

    def __iter__(self) -> Iterator[Frame]:
        """Yield every frame.

        Raises:
            SourceError: clearly fewer frames could be decoded than the file announces.
        """
        index = 0
        while True:
            decoded, image = self._capture.read()
            if not decoded:
                break
            yield Frame(as_bgr(image), index, index / (self.fps or 25), f"{index:06d}")
            index += 1
        # Some containers only estimate their length: a few frames less are no damage.
        if index == 0 or (self.count is not None and index < 0.98 * self.count - 2):
            raise SourceError(
                f"{self._path} is damaged: {index} of {self.count} announced frames could be decoded; "
                "copy or record it again"
            )

    def close(self) -> None:
        """Release the decoder."""
        self._capture.release()
