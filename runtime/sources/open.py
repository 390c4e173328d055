"""Where frames come from: video file, pictures, camera, test pattern.

Files keep every frame; a camera keeps the newest and counts what it drops.
"""

import glob
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import cv2
import numpy as np

from runtime.errors import FrameError, SourceError
from runtime.frame import BGR, as_bgr

PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
SHIPPED_CLIP = Path(__file__).parents[1] / "clips" / "cars.mp4"
FORMS = "a video file, a picture, a folder, a glob like 'shots/*.jpg', a camera like 0 or /dev/video0, test://cars or test://pattern"


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a source: BGR (H,W,3) uint8, its number from 0, its time in seconds, and a name for files."""

    image: BGR
    index: int
    time_s: float
    name: str


class Source:
    """An iterable of frames that is closed on every way out.

    Attributes:
        fps: frames per second of the source, None if it has no rate.
        count: number of frames announced, None for an endless source.
        live: frames that nobody fetched in time are dropped.
        problems: what was skipped and why, one line each.
        dropped: frames of a live source that nobody fetched.
    """

    fps: float | None = None
    count: int | None = None
    live = False
    dropped = 0

    def __init__(self) -> None:
        self.problems: list[str] = []

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames in order.

        Raises:
            SourceError: the source ended before its announced end.
        """
        raise TypeError(f"{type(self).__name__} does not yield frames")

    def close(self) -> None:
        """Free what the source holds."""

    def __enter__(self) -> "Source":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_source(source: str) -> Source:
    """Open a source given as text.

    Raises:
        SourceError: there is no such thing, or it cannot be read.
    """
    if source.isdigit() or source.startswith("/dev/video"):
        return CameraSource(int(source) if source.isdigit() else source)
    if source == "test://cars":
        return VideoSource(SHIPPED_CLIP)
    if source.startswith("test://"):
        return PatternSource(source)
    if "://" in source:
        raise SourceError(f"source {source!r} is of a kind that is not supported: expected {FORMS}")
    path = Path(source)
    if path.is_dir():
        return PictureSource(sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURES), source)
    if path.is_file():
        return PictureSource([path], source) if path.suffix.lower() in PICTURES else VideoSource(path)
    if glob.has_magic(source):
        return PictureSource([Path(p) for p in sorted(glob.glob(source, recursive=True)) if Path(p).is_file()], source)
    raise SourceError(f"source {source!r} does not exist: expected {FORMS}")


class VideoSource(Source):
    """Every frame of a video file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        if path.stat().st_size == 0:
            raise SourceError(f"video {path} is empty (0 bytes): copy or record it again")
        self._path = path
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise SourceError(f"{path} is no video that FFmpeg can read: check it with `ffprobe {path}`")
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = rate if np.isfinite(rate) and 0 < rate <= 1000 else None
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


class PictureSource(Source):
    """Pictures in the order of their names; one that cannot be read is skipped and reported."""

    def __init__(self, paths: list[Path], given: str) -> None:
        super().__init__()
        if not paths:
            raise SourceError(f"no picture in {given!r}: expected files ending in {', '.join(sorted(PICTURES))}")
        self._paths = paths
        self.count = len(paths)

    def __iter__(self) -> Iterator[Frame]:
        """Yield every readable picture.

        Raises:
            SourceError: none of them is readable.
        """
        index = 0
        for path in self._paths:
            try:
                image = _read_picture(path)
            except (FrameError, SourceError) as error:
                self.problems.append(f"{path}: {error}")
                continue
            yield Frame(image, index, float(index), path.stem)
            index += 1
        if index == 0:
            raise SourceError(f"none of {len(self._paths)} pictures could be read; {self.problems[0]}")


def _read_picture(path: Path) -> BGR:
    """Read colour pictures of any depth; EXIF rotation is applied, alpha is dropped."""
    try:
        # Not imread: it prints warnings of its own and fails on names that are not in the system's encoding.
        data = np.frombuffer(path.read_bytes(), np.uint8)
        image: Any = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except OSError as error:
        raise SourceError(f"cannot be read ({error.strerror})") from None
    except cv2.error as error:
        raise SourceError(f"cannot be decoded ({error.err})") from None
    if image is None:
        raise SourceError("empty file" if data.size == 0 else "not a picture that OpenCV can decode")
    return as_bgr(image)


class CameraSource(Source):
    """The newest frame of a local camera; a thread reads so that a slow consumer never sees old frames."""

    live = True

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
        self.fps = rate if np.isfinite(rate) and 0 < rate <= 1000 else None
        self._arrived = threading.Condition()
        self._newest: BGR | None = None
        self._closing = False
        self._ended = False
        self._reader = threading.Thread(target=self._read, name=self._name, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while not self._closing:
            captured, image = self._capture.read()
            with self._arrived:
                self._ended = not captured
                if captured:
                    self.dropped += self._newest is not None
                    self._newest = as_bgr(image)
                self._arrived.notify()
            if not captured:
                return

    def __iter__(self) -> Iterator[Frame]:
        """Yield the newest frame each time.

        Raises:
            SourceError: the camera ended, or sent nothing for `timeout_s`.
        """
        begin, index = monotonic(), 0
        while True:
            with self._arrived:
                self._arrived.wait_for(lambda: self._newest is not None or self._ended, self._timeout_s)
                image, self._newest = self._newest, None
            if image is None:
                raise SourceError(f"{self._name} sent no frame for {self._timeout_s:g} s, or was unplugged")
            yield Frame(image, index, monotonic() - begin, f"{index:06d}")
            index += 1

    def close(self) -> None:
        """Stop reading and release the camera; a driver that hangs in a read is left to its thread."""
        self._closing = True
        self._reader.join(self._timeout_s)
        if not self._reader.is_alive():
            self._capture.release()


class PatternSource(Source):
    """A moving test picture without any file: `test://pattern?size=640x480&frames=100&fps=25`.

    Endless unless `frames` is given.
    """

    def __init__(self, uri: str) -> None:
        super().__init__()
        parts = urlsplit(uri)
        options = dict(parse_qsl(parts.query))
        size = re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,3})", options.pop("size", "640x480"))
        frames, fps = options.pop("frames", ""), options.pop("fps", "25")
        if parts.netloc != "pattern" or options or not size or not re.fullmatch(r"\d*", frames) or not fps.isdigit():
            raise SourceError(f"{uri!r} given, expected test://pattern?size=640x480&frames=100&fps=25")
        self._width, self._height = int(size[1]), int(size[2])
        self.count = int(frames) if frames else None
        self.fps = float(max(int(fps), 1))

    def __iter__(self) -> Iterator[Frame]:
        """Yield a colour gradient with a disc that goes round once in 100 frames."""
        rows, columns = np.mgrid[0 : self._height, 0 : self._width]
        gradient = np.stack(
            [columns * 255 // self._width, rows * 255 // self._height, np.full_like(rows, 96)], axis=-1
        ).astype(np.uint8)
        index = 0
        while self.count is None or index < self.count:
            angle = 2 * np.pi * index / 100
            centre = (
                round(self._width * (0.5 + 0.3 * np.cos(angle))),
                round(self._height * (0.5 + 0.3 * np.sin(angle))),
            )
            image = cv2.circle(gradient.copy(), centre, max(min(rows.shape) // 6, 1), (40, 60, 230), cv2.FILLED)
            yield Frame(as_bgr(image), index, index / (self.fps or 25), f"{index:06d}")
            index += 1
