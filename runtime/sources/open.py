"""Open a source given as text."""

import glob
import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from runtime.errors import SourceError, SourceNotFoundError
from runtime.sources.address import Address, redacted
from runtime.sources.bag import BagSource, bag_inputs
from runtime.sources.camera import open_camera
from runtime.sources.chain import ChainSource
from runtime.sources.files import STANDARD_INPUT, VideoSource
from runtime.sources.gstreamer import open_gstreamer
from runtime.sources.network import open_http
from runtime.sources.pattern import PatternSource
from runtime.sources.picture_names import in_natural_order
from runtime.sources.pictures import Found, PictureSource, find_pictures, is_picture
from runtime.sources.ros2 import open_ros2
from runtime.sources.rtsp import open_rtsp
from runtime.sources.source import Source
from runtime.sources.wildcards import expanded

SHIPPED_CLIP = Path(__file__).parents[1] / "clips" / "cars.mp4"
FORMS = (
    "a video file, a picture, a folder, a glob like 'shots/*.jpg', - (a video on standard input), a camera like 0, "
    "/dev/video0 or /dev/v4l/by-id/NAME, rtsp://HOST/PATH, http://HOST/PATH (a file, MJPEG or HLS), gst:'PIPELINE', "
    "csi://0 (a Jetson's camera), a robot's topic like ros2:/camera/image_raw, its recording bag:FILE?topic=/camera, "
    "test://cars or test://pattern"
)

VIDEO4LINUX = 81
"""Major number of the devices that Linux captures video from."""


ENDLESS = {"rtsp", "rtsps", "gst", "csi", "ros2"}
"""Kinds that no other source can come after. What lies behind `http` may have an end, and says so when it is opened."""


def open_sources(sources: Sequence[str]) -> Source:
    """Open several sources as one: pictures in natural order, wherever they lie, or one source after the other.

    Raises:
        SourceNotFoundError: one of them does not exist, or never ends.
        SourceError: the first cannot be read.
    """
    sources = [_path_of(source) for source in sources]
    if len(sources) == 1:
        return open_source(sources[0])
    found = [_pictures(source) for source in sources]
    pictures = [part for part in found if part is not None]
    if len(pictures) == len(found):
        paths = in_natural_order(path for part in pictures for path in part.pictures)
        folders = [Path(source) for source in sources if Path(source).is_dir()]
        return PictureSource(paths, " ".join(sources), folders, [line for part in pictures for line in part.left_out])
    for source in sources:
        if _camera(source) is not None or source == "-" or _kind(source) in ENDLESS:
            shown = redacted(source)
            raise SourceNotFoundError(f"{shown!r} is one of several sources, and never ends: give it alone")
        if not source.startswith("bag:") and _is_missing(source):
            raise SourceNotFoundError(f"source {source!r} does not exist: expected {FORMS}")
    return ChainSource(sources, open_source, [path for source in sources for path in inputs_of(source)])


def _kind(source: str) -> str:
    """What a text begins with up to its colon."""
    return source.partition(":")[0].lower()


def _is_missing(source: str) -> bool:
    return "://" not in source and not os.path.lexists(source) and not glob.has_magic(source)


def inputs_of(source: str) -> list[Path]:
    """List every file and folder that a source given as text reads."""
    source = _path_of(source)
    if "://" in source or source == "-" or _kind(source) in ENDLESS:
        return []
    if source.startswith("bag:"):
        return bag_inputs(source)
    path, found = Path(source), _pictures(source)
    inputs = [path] if path.exists() else _found(source) if glob.has_magic(source) else []
    return [*inputs, *(found.pictures if found is not None else [])]


def _path_of(source: str) -> str:
    return unquote(urlsplit(source).path) if source.startswith("file://") else source


def open_source(source: str, *, wait: bool = True) -> Source:
    """Open a source given as text.

    A folder is one also where its name is a number. Of what has the name of a pattern and of a file, it is the file.

    Args:
        source: see `FORMS`.
        wait: for the first picture of a live source, and fail if it does not come; otherwise it is opened when it is
            there.

    Raises:
        SourceNotFoundError: there is no such thing.
        SourceError: it cannot be read.
    """
    if not source.strip():
        raise SourceNotFoundError(f"the source is empty: expected {FORMS}")
    if source == "-":
        return VideoSource(STANDARD_INPUT)
    if source == "test://cars":
        return VideoSource(SHIPPED_CLIP)
    if source.startswith("test://"):
        return PatternSource(source)
    if source.startswith("ros2:"):
        return open_ros2(source, wait=wait)
    if source.startswith("bag:"):
        return BagSource(source)
    if _kind(source) in ("gst", "csi"):
        return open_gstreamer(source, wait=wait)
    source = _path_of(source)
    camera = _camera(source)
    if camera is not None:
        return open_camera(camera, wait=wait)
    if "://" in source:
        return _open_address(source, wait=wait)
    pictures = _pictures(source)
    if pictures is not None:
        folders = [Path(source)] if Path(source).is_dir() else []
        return PictureSource(pictures.pictures, source, folders, pictures.left_out)
    path = Path(source)
    if path.exists():
        return VideoSource(path)
    if os.path.lexists(path):
        raise SourceNotFoundError(f"source {source!r} is a link to {path.readlink()}, which does not exist")
    if glob.has_magic(source):
        found = _found(source)
        return ChainSource([str(path) for path in found], open_source, found)
    raise SourceNotFoundError(f"source {source!r} does not exist: expected {FORMS}")


def _open_address(source: str, *, wait: bool) -> Source:
    if _kind(source) in ("rtsp", "rtsps"):
        return open_rtsp(Address.of(source), wait=wait)
    if _kind(source) in ("http", "https"):
        return open_http(Address.of(source), wait=wait)
    raise SourceNotFoundError(f"source {redacted(source)!r} is of a kind that is not supported: expected {FORMS}")


def _camera(source: str) -> int | str | None:
    """Find the camera that a text names, if it names one.

    Raises:
        SourceError: it names a device of another kind.
    """
    device = source.removeprefix("v4l2://")
    if device.isascii() and device.isdigit() and not Path(device).is_dir():
        return int(device)
    if device.startswith(("/dev/video", "/dev/v4l/")) and not os.path.lexists(device):
        return device  # which says what is there instead
    try:
        about = Path(device).stat()
    except OSError:
        return device if device != source else None
    if not stat.S_ISCHR(about.st_mode):
        return None
    if sys.platform == "linux" and os.major(about.st_rdev) != VIDEO4LINUX:
        present = ", ".join(sorted(map(str, Path("/dev").glob("video*")))) or "none"
        raise SourceError(
            f"{source} is a device ({os.path.realpath(device)}), but no camera; cameras present: {present}"
        )
    return os.path.realpath(device)


def _pictures(source: str) -> Found | None:
    """List the pictures that a text means; None if it means something else."""
    if "://" in source or source.startswith("bag:") or _kind(source) in ENDLESS:
        return None
    path = Path(source)
    if path.is_dir():
        return find_pictures(path.iterdir())
    if path.exists():
        return Found([path], []) if is_picture(path) else None
    if glob.has_magic(source):
        files = _found(source)
        found = find_pictures(files)
        return found if found.pictures or not files else None
    return None


def _found(pattern: str) -> list[Path]:
    return in_natural_order(path for name in dict.fromkeys(expanded(pattern)) if (path := Path(name)).is_file())
