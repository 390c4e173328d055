"""A video with the words painted over it."""

from pathlib import Path

import cv2

from runtime.errors import SinkError
from runtime.frame import BGR
from runtime.segmentation import Segmentation
from runtime.sinks.output import Outputs
from runtime.sinks.sink import Sink, make_folder
from runtime.sources.source import Frame

VIDEOS = {".mp4", ".avi", ".mkv", ".mov"}


class VideoSink(Sink):
    """An MPEG-4 video with the overlay; all frames are of the first one's size, odd sides lose their last pixel."""

    def __init__(self, path: Path, fps: float, outputs: Outputs) -> None:
        outputs.claim(path)
        make_folder(path.parent)
        self._path = path
        self._staging = path.with_name(f"{path.stem}.partial{path.suffix}")
        self._fps = fps
        self._writer: cv2.VideoWriter | None = None
        self._size_wh = (0, 0)
        self._count = 0

    def write(self, result: Segmentation, frame: Frame, picture: BGR) -> None:
        """Append a frame."""
        size_wh = (frame.image.shape[1], frame.image.shape[0])
        if self._writer is None:
            self._writer, self._size_wh = self._open(size_wh), size_wh
        if size_wh != self._size_wh:
            raise SinkError(
                f"frame {frame.name} is {size_wh[0]} x {size_wh[1]}, the video {self._path} began with "
                f"{self._size_wh[0]} x {self._size_wh[1]}: write pictures of mixed sizes to a folder"
            )
        self._writer.write(picture)
        self._count += 1

    def _open(self, size_wh: tuple[int, int]) -> cv2.VideoWriter:
        writer = cv2.VideoWriter(str(self._staging), cv2.VideoWriter.fourcc(*"mp4v"), self._fps, size_wh)
        if not writer.isOpened():
            raise SinkError(
                f"{self._staging} cannot be written as a video of {size_wh[0]} x {size_wh[1]}: "
                "is the folder writable, and the frame at least 2 pixels a side?"
            )
        return writer

    def close(self, *, complete: bool) -> None:
        """Finish the file and give it its name, if every frame is in it."""
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        if not complete:
            self.partial = self._staging
            return
        written = self._frames_in_file()
        if written != self._count:  # the writer reports no errors itself, a full disk for instance
            raise SinkError(f"{self._staging} holds {written} of {self._count} frames: is the disk full?")
        self._staging.replace(self._path)

    def _frames_in_file(self) -> int:
        reader = cv2.VideoCapture(str(self._staging))
        count = int(reader.get(cv2.CAP_PROP_FRAME_COUNT)) if reader.isOpened() else 0
        reader.release()
        return count
