"""Where results go: video file, overlay pictures, class-index masks, a window.

A file appears under its name only when it is complete; what was written until an error stays beside it as
`NAME.partial.EXT`, so that nothing is lost and nothing half-written is mistaken for a result.
"""

import os
import re
import sys
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from runtime.errors import SinkError
from runtime.frame import BGR
from runtime.segmentation import Segmentation, write_picture
from runtime.sources.open import Frame

VIDEOS = {".mp4", ".avi", ".mkv", ".mov"}
FORMS = (
    "out.mp4, out.png (one picture), a folder or out/%06d.png (a picture a frame), masks/ or masks/%06d.png "
    "(a folder named masks: class indices), or display"
)


class Sink:
    """Takes results one by one.

    Attributes:
        paints: wants the painted frame, which is cheapest to make in the pass that makes the mask.
        finished: wants no more frames.
        partial: an incomplete file that it left behind.
    """

    paints = True
    finished = False
    partial: Path | None = None

    def write(self, result: Segmentation, frame: Frame, picture: BGR) -> None:
        """Write the result of a frame. Its arrays are used again for the next one: copy what is to be kept.

        Args:
            result: what was found.
            frame: where.
            picture: the frame with the words painted over it, if this or another sink `paints`.

        Raises:
            SinkError: it cannot be written.
        """
        raise TypeError(f"{type(self).__name__} does not write")

    def close(self, *, complete: bool) -> None:
        """Finish. `complete` tells whether every result was written.

        Raises:
            SinkError: the result cannot be finished.
        """

    def __enter__(self) -> "Sink":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(complete=kind is None)


def open_sink(sink: str, *, fps: float | None) -> Sink:
    """Open a sink given as text.

    Args:
        sink: see `FORMS`.
        fps: rate of a video; 25 if the source has none.

    Raises:
        SinkError: no such kind, or the place cannot be written.
    """
    if sink == "display":
        return DisplaySink()
    path = Path(sink)
    if "://" in sink:
        raise SinkError(f"sink {sink!r} is of a kind that is not supported: expected {FORMS}")
    if path.suffix.lower() in VIDEOS:
        return VideoSink(path, fps or 25)
    if path.suffix.lower() not in {"", ".png", ".jpg", ".jpeg"}:
        raise SinkError(f"sink {sink!r} given, expected {FORMS}")
    if path.suffix == "":
        path /= "{name}.png"
    if path.parent.name == "masks":
        return MaskSink(path)
    return OverlaySink(path) if is_pattern(path) else PictureSink(path)


def is_pattern(path: Path) -> bool:
    """Tell whether the file name has a place for the frame's number (%06d) or name ({name})."""
    return bool(re.search(r"%0?\d*d|\{name\}", path.name))


def _numbered(path: Path, frame: Frame) -> Path:
    number = re.search(r"%(0?)(\d*)d", path.name)
    if number:
        return path.with_name(path.name.replace(number[0], format(frame.index, f"{number[1]}{number[2]}d")))
    return path.with_name(path.name.replace("{name}", frame.name))


class VideoSink(Sink):
    """An MPEG-4 video with the overlay; all frames are of the first one's size, odd sides lose their last pixel."""

    def __init__(self, path: Path, fps: float) -> None:
        _make_folder(path.parent)
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


class OverlaySink(Sink):
    """A picture a frame with the words painted over it."""

    def __init__(self, pattern: Path) -> None:
        _make_folder(pattern.parent)
        self._pattern = pattern

    def write(self, result: Segmentation, frame: Frame, picture: BGR) -> None:
        """Write the picture of a frame."""
        write_picture(_numbered(self._pattern, frame), picture)


class PictureSink(Sink):
    """One picture: of a stream, the frame over which the words spread most evenly (highest entropy of coverage)."""

    def __init__(self, path: Path) -> None:
        _make_folder(path.parent)
        self._path = path
        self._entropy = -1.0
        self._best: BGR | None = None

    def write(self, result: Segmentation, frame: Frame, picture: BGR) -> None:
        """Keep the frame if it is the best so far."""
        shares = np.array([share for share in result.coverage().values() if share > 0])
        entropy = float(-(shares * np.log(shares)).sum())
        if entropy > self._entropy:
            self._entropy, self._best = entropy, picture.copy()

    def close(self, *, complete: bool) -> None:
        """Write the picture, if there was a frame."""
        if complete and self._best is not None:
            write_picture(self._path, self._best)


class MaskSink(Sink):
    """A PNG a frame whose values are class indices, 8 bits or 16, and `classes.txt` with the word of each line."""

    paints = False

    def __init__(self, pattern: Path) -> None:
        if pattern.suffix.lower() != ".png":
            raise SinkError(f"masks are written as PNG, not {pattern.suffix}: other formats would change the indices")
        _make_folder(pattern.parent)
        self._pattern = pattern
        self._names: tuple[str, ...] = ()

    def write(self, result: Segmentation, frame: Frame, picture: BGR) -> None:
        """Write the mask of a frame."""
        if result.names != self._names:
            if self._names:
                raise SinkError("the words changed while masks were written: begin a new folder for new words")
            self._names = result.names
            _write_names(self._pattern.parent / "classes.txt", result.names)
        write_picture(_numbered(self._pattern, frame), result.mask)


class DisplaySink(Sink):
    """A window; closing it, or the key q or Esc, ends the stream."""

    TITLE = "TCL Edge"

    def __init__(self) -> None:
        if not has_window():
            raise SinkError(
                "no window can be opened: this OpenCV has no user interface (`pip uninstall opencv-python-headless && "
                "pip install opencv-python` brings one) or there is no screen; use --headless or a file as sink"
            )
        cv2.namedWindow(self.TITLE, cv2.WINDOW_NORMAL)

    def write(self, result: Segmentation, frame: Frame, picture: BGR) -> None:
        """Show a frame."""
        cv2.imshow(self.TITLE, picture)
        key = cv2.waitKey(1) & 0xFF
        self.finished = key in (ord("q"), 27) or cv2.getWindowProperty(self.TITLE, cv2.WND_PROP_VISIBLE) < 1

    def close(self, *, complete: bool) -> None:
        """Close the window."""
        cv2.destroyAllWindows()


def has_window() -> bool:
    """Tell whether this OpenCV can open a window on this machine."""
    interface = re.search(r"GUI:\s+(\S+)", cv2.getBuildInformation())
    screen = sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return screen and interface is not None and interface[1] != "NONE"


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SinkError(f"folder {folder} cannot be made: {error.strerror}") from None
    if not os.access(folder, os.W_OK):
        raise SinkError(f"folder {folder} is not writable")


def _write_names(path: Path, names: tuple[str, ...]) -> None:
    try:
        path.write_text("\n".join(names) + "\n", encoding="utf-8")
    except OSError as error:
        raise SinkError(f"{path} cannot be written: {error.strerror}") from None
