"""Pictures of every kind that the decoder reads, in natural order; animations frame by frame, TIFF page by page."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from runtime.errors import FrameError, SourceError, SourceNotFoundError
from runtime.frame import BGR, as_bgr
from runtime.sources.picture_header import (
    BITS,
    HEAD_BYTES,
    SAMPLE_FORMAT,
    count_pictures,
    declared_size,
    kind_of,
    kind_of_file,
    orientation,
    tiff_directories,
    tiff_pages,
)
from runtime.sources.picture_names import in_natural_order, unique_names
from runtime.sources.source import Frame, Source

PICTURES_PER_SECOND = 25
"""Of pictures that have no time of their own."""

MOST_PIXELS = 2**28
"""Of a picture: 800 MB. A file of some bytes can announce any number."""

SHORTEST_DELAY_MS, USUAL_DELAY_MS = 10, 100
"""A frame of an animation that is shown up to the first is shown for the second, as browsers do."""

DECODED_AT_ONCE_BYTES = 2**29
"""Frames of an animation in memory at a time. For the next, the decoder begins anew and skips at nearly full cost."""

SUFFIXES = re.compile(
    r"\.(jpg|jpe|jpeg|jfif|png|apng|gif|webp|bmp|dib|tiff?|jp2|j2k|avif|p[pgbna]m|pfm|hdr|heic|heif|jxl|exr|psd)", re.I
)
"""Files that are told of if they are no pictures, or damaged. Others are pictures if they begin like one."""

CAMERA_RAW = re.compile(r"\.(dng|cr2|cr3|nef|arw|orf|rw2|raf|pef|srw)", re.I)
"""What lies before a camera's own processing. Many begin like a TIFF, which holds a small preview."""

VIDEOS = re.compile(r"\.(mp4|m4v|mov|avi|mkv|webm|mpg|mpeg|mts|m2ts|ts|wmv|flv|3gp|ogv|mjpeg|mjpg)", re.I)


def is_picture(path: Path) -> bool:
    """Tell whether a file is a picture, or claims to be one by its suffix, without decoding it."""
    if not path.is_file() or VIDEOS.fullmatch(path.suffix):
        return False
    return any(suffixes.fullmatch(path.suffix) for suffixes in (SUFFIXES, CAMERA_RAW)) or kind_of_file(path) is not None


@dataclass(frozen=True)
class Found:
    """Pictures among other things.

    Attributes:
        pictures: in natural order.
        left_out: what is none, one line a kind.
    """

    pictures: list[Path]
    left_out: list[str]


def find_pictures(paths: Iterable[Path]) -> Found:
    """Take the pictures out of what a folder or a pattern holds; hidden files are none."""
    pictures, videos, folders, others = [], [], [], []
    for path in in_natural_order(paths):
        if path.is_dir():
            folders.append(path.name)
        elif VIDEOS.fullmatch(path.suffix):
            videos.append(path.name)
        elif not path.name.startswith(".") and is_picture(path):
            pictures.append(path)
        else:
            others.append(path.name)
    kinds = {"videos, to be given alone": videos, "folders": folders, "other files": others}
    return Found(pictures, [f"{kind} ({len(names)}): {_some(names)}" for kind, names in kinds.items() if names])


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + ", …" * (len(names) > 5)


class PictureSource(Source):
    """Pictures in the order given; one that cannot be read is skipped and reported.

    Frames of an animation are shown for as long as it says, all others for a 25th of a second.

    Args:
        paths: files.
        given: what the user called them.
        folders: that were given as such.
        left_out: what lies beside them and is no picture.

    Raises:
        SourceNotFoundError: there is none.
    """

    def __init__(
        self, paths: Sequence[Path], given: str, folders: Sequence[Path] = (), left_out: Sequence[str] = ()
    ) -> None:
        super().__init__()
        if not paths:
            beside = f"; there: {'; '.join(left_out)}" if left_out else ""
            raise SourceNotFoundError(
                f"no picture in {given!r}{beside}: expected files of a kind that OpenCV reads, such as JPEG or PNG"
            )
        self._paths = list({os.path.abspath(path): path for path in paths}.values())  # noqa: PTH100 - each file once
        counts = [count_pictures(path, kind_of_file(path)) for path in self._paths]
        self._names = unique_names(self._paths, counts)
        self.count = sum(counts)
        self.names = [name for names in self._names for name in names]
        self.inputs = [*folders, *self._paths]
        self.left_out = left_out

    def __iter__(self) -> Iterator[Frame]:
        """Yield every readable picture.

        Raises:
            SourceError: none of them is readable.
        """
        index, time_s = 0, 0.0
        for path, names in zip(self._paths, self._names, strict=True):
            try:
                # The file may have changed since it was looked at: no more frames than it has names.
                for name, (image, shown_s) in zip(names, read_pictures(path), strict=False):
                    yield Frame(image, index, time_s, name, path)
                    index, time_s = index + 1, time_s + shown_s
            except (FrameError, SourceError) as error:
                self.problems.append(f"{path}: {error}")
        if index == 0:
            raise SourceError(f"none of {len(self._paths)} pictures could be read; {self.problems[0]}")


def read_pictures(path: Path) -> Iterator[tuple[BGR, float]]:
    """Yield every picture of a file, upright, without alpha, and how long it is shown in seconds.

    Of 16 bits the upper 8 are used.

    Raises:
        SourceError: it cannot be read, or broke off.
        FrameError: it is too large.
    """
    try:
        data = path.read_bytes()  # not imread, which fails on names that are not in the system's encoding
    except OSError as error:
        raise SourceError(f"cannot be read ({error.strerror})") from None
    kind = kind_of(data[:HEAD_BYTES])
    _refuse(path, kind, data)
    pages = tiff_pages(data) if kind == "TIFF" else [0]
    count = count_pictures(path, kind)
    buffer = np.frombuffer(data, np.uint8)
    try:
        if pages != [0]:
            for page in pages:
                done, images = cv2.imdecodemulti(buffer, cv2.IMREAD_COLOR, range=(page, page + 1))
                if not done or not images:
                    raise SourceError(f"cannot be decoded from page {page + 1} on")
                yield as_bgr(np.asarray(images[0])), 1 / PICTURES_PER_SECOND
        elif count > 1:
            yield from _animation(buffer, kind, count, declared_size(kind, data), orientation(kind, data))
        else:
            ours = kind in {"PNG", "WebP", "AVIF"}  # OpenCV turns JPEG and TIFF, and the others not in every version
            flags = cv2.IMREAD_COLOR | (cv2.IMREAD_IGNORE_ORIENTATION if ours else 0)
            image: Any = cv2.imdecode(buffer, flags)
            if image is None:
                raise SourceError("not a picture that OpenCV can decode")
            yield _upright(as_bgr(image), orientation(kind, data)), 1 / PICTURES_PER_SECOND
    except cv2.error as error:
        raise SourceError(f"cannot be decoded ({error.err or error})") from None


def _refuse(path: Path, kind: str | None, data: bytes) -> None:
    """Raise SourceError for what would be decoded wrongly, or not at all, or fill the memory."""
    if not data:
        raise SourceError("empty file")
    if kind == "HEIC":
        raise SourceError("a HEIC picture, which OpenCV cannot decode: make it JPEG (heif-convert IN.heic OUT.jpg)")
    if CAMERA_RAW.fullmatch(path.suffix) and kind in {"TIFF", None}:
        raise SourceError("a camera's raw picture, which OpenCV cannot decode: develop it into JPEG or TIFF")
    if kind in {"JPEG XL", "OpenEXR", "Photoshop"}:
        raise SourceError(f"a {kind} picture, which OpenCV cannot decode: save it as PNG")
    numbers = kind == "PFM"
    if kind == "TIFF":
        try:
            directories = tiff_directories(data)
        except ValueError as error:
            raise SourceError(str(error)) from None
        if not tiff_pages(data):
            raise SourceError("a TIFF without a page of full size")
        numbers = any(page.get(BITS, 1) > 16 or page.get(SAMPLE_FORMAT, 1) == 3 for page in directories)
    if numbers:
        raise SourceError("holds numbers without a range for black and white: scale them to 8 or 16 bits")
    size = declared_size(kind, data)
    if size is not None and size[0] * size[1] > MOST_PIXELS:
        raise SourceError(f"announces {size[1]} x {size[0]} pixels, expected {MOST_PIXELS} at most: make it smaller")


def _animation(
    buffer: npt.NDArray[np.uint8], kind: str | None, count: int, size: tuple[int, int] | None, turn: int
) -> Iterator[tuple[BGR, float]]:
    if not hasattr(cv2, "imdecodeanimation"):
        raise SourceError(f"{count} frames, which OpenCV {cv2.__version__} cannot decode: expected 4.12 or later")
    at_once = count if size is None else max(DECODED_AT_ONCE_BYTES // (4 * size[0] * size[1]), 1)
    done = 0
    while done < count:
        _, animation = cv2.imdecodeanimation(buffer, start=done, count=min(at_once, count - done))
        for image, delay_ms in zip(animation.frames, np.asarray(animation.durations).ravel(), strict=False):
            shown_ms = int(delay_ms) if delay_ms > SHORTEST_DELAY_MS else USUAL_DELAY_MS
            yield _upright(as_bgr(np.asarray(image)), turn), shown_ms / 1000
            done += 1
        if not animation.frames:
            raise SourceError(f"an animated {kind} that breaks off after {done} of {count} frames")


def _upright(image: BGR, number: int) -> BGR:
    """Turn a picture as EXIF's orientation says."""
    if number >= 5:
        image = image.transpose(1, 0, 2)
    if number in {2, 3, 6, 7}:
        image = image[:, ::-1]
    if number in {3, 4, 7, 8}:
        image = image[::-1]
    return image if number == 1 else np.ascontiguousarray(image)
