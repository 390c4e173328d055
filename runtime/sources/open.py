"""Open a source given as text."""

import glob
from collections.abc import Sequence
from pathlib import Path

from runtime.errors import SourceNotFoundError
from runtime.sources.camera import CameraSource
from runtime.sources.files import STANDARD_INPUT, VideoSource
from runtime.sources.pattern import PatternSource
from runtime.sources.pictures import PICTURES, PictureSource
from runtime.sources.source import Source

SHIPPED_CLIP = Path(__file__).parents[1] / "clips" / "cars.mp4"
FORMS = "a video file, a picture, a folder, a glob like 'shots/*.jpg', a camera like 0 or /dev/video0, test://cars or test://pattern"


def open_sources(sources: Sequence[str]) -> Source:
    """Open several sources as one."""
    (source,) = sources
    return open_source(source)


def open_source(source: str) -> Source:
    """Open a source given as text.

    Raises:
        SourceNotFoundError: there is no such thing.
        SourceError: it cannot be read.
    """
    if source.isdigit() or source.startswith("/dev/video"):
        return CameraSource(int(source) if source.isdigit() else source)
    if source == "-":
        return VideoSource(STANDARD_INPUT)
    if source == "test://cars":
        return VideoSource(SHIPPED_CLIP)
    if source.startswith("test://"):
        return PatternSource(source)
    if "://" in source:
        raise SourceNotFoundError(f"source {source!r} is of a kind that is not supported: expected {FORMS}")
    path = Path(source)
    if path.is_dir():
        return PictureSource(sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURES), source)
    if path.exists():
        return PictureSource([path], source) if path.suffix.lower() in PICTURES else VideoSource(path)
    if glob.has_magic(source):
        return PictureSource([Path(p) for p in sorted(glob.glob(source, recursive=True)) if Path(p).is_file()], source)
    raise SourceNotFoundError(f"source {source!r} does not exist: expected {FORMS}")
