"""Open a source given as text."""

import glob
import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from runtime.errors import SourceError, SourceNotFoundError
from runtime.sources.camera import CameraSource
from runtime.sources.chain import ChainSource
from runtime.sources.files import STANDARD_INPUT, VideoSource
from runtime.sources.pattern import PatternSource
from runtime.sources.pictures import PICTURES, PictureSource
from runtime.sources.source import Source

SHIPPED_CLIP = Path(__file__).parents[1] / "clips" / "cars.mp4"
FORMS = (
    "a video file, a picture, a folder, a glob like 'shots/*.jpg', - (a video on standard input), a camera like 0, "
    "/dev/video0 or /dev/v4l/by-id/NAME, test://cars or test://pattern"
)

VIDEO4LINUX = 81
"""Major number of the devices that Linux captures video from."""


def open_sources(sources: Sequence[str]) -> Source:
    """Open several sources as one: all pictures in one order, or one source after the other.

    Raises:
        SourceNotFoundError: one of them does not exist, or never ends.
        SourceError: the first cannot be read.
    """
    if len(sources) == 1:
        return open_source(sources[0])
    pictures = [_pictures(source) for source in sources]
    paths = [path for found in pictures for path in found or ()]
    if all(found is not None for found in pictures):
        folders = [Path(source) for source in sources if Path(source).is_dir()]
        return PictureSource(paths, " ".join(sources), folders)
    for source in sources:
        if _camera(source) is not None or source == "-":
            raise SourceNotFoundError(f"{source!r} is one of several sources, and never ends: give it alone")
        if "://" not in source and not os.path.lexists(source) and not glob.has_magic(source):
            raise SourceNotFoundError(f"source {source!r} does not exist: expected {FORMS}")
    return ChainSource(sources, open_source)


def open_source(source: str) -> Source:
    """Open a source given as text.

    A folder is one also where its name is a number. Of what has the name of a pattern and of a file, it is the file.

    Raises:
        SourceNotFoundError: there is no such thing.
        SourceError: it cannot be read.
    """
    if source == "-":
        return VideoSource(STANDARD_INPUT)
    if source == "test://cars":
        return VideoSource(SHIPPED_CLIP)
    if source.startswith("test://"):
        return PatternSource(source)
    if source.startswith("file://"):
        return open_source(unquote(urlsplit(source).path))
    camera = _camera(source)
    if camera is not None:
        return CameraSource(camera)
    if "://" in source:
        raise SourceNotFoundError(f"source {source!r} is of a kind that is not supported: expected {FORMS}")
    pictures = _pictures(source)
    if pictures is not None:
        return PictureSource(pictures, source, [Path(source)] if Path(source).is_dir() else [])
    path = Path(source)
    if path.exists():
        return VideoSource(path)
    if os.path.lexists(path):
        raise SourceNotFoundError(f"source {source!r} is a link to {path.readlink()}, which does not exist")
    if glob.has_magic(source):
        return ChainSource([str(path) for path in _found(source)], open_source)
    raise SourceNotFoundError(f"source {source!r} does not exist: expected {FORMS}")


def _camera(source: str) -> int | str | None:
    """Find the camera that a text names, if it names one.

    Raises:
        SourceError: it names a device of another kind.
    """
    device = source.removeprefix("v4l2://")
    if device.isascii() and device.isdigit() and not Path(device).is_dir():
        return int(device)
    if device.startswith("/dev/video") and not os.path.lexists(device):
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


def _pictures(source: str) -> list[Path] | None:
    """List the pictures that a text means; None if it means something else."""
    if "://" in source:
        return None
    path = Path(source)
    if path.is_dir():
        return sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURES)
    if path.exists():
        return [path] if path.suffix.lower() in PICTURES else None
    if glob.has_magic(source):
        found = _found(source)
        pictures = [path for path in found if path.suffix.lower() in PICTURES]
        return pictures if pictures or not found else None
    return None


def _found(pattern: str) -> list[Path]:
    return [Path(name) for name in sorted(glob.glob(pattern, recursive=True)) if Path(name).is_file()]
