"""Pictures in the order of their names."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from runtime.errors import FrameError, SourceError, SourceNotFoundError
from runtime.frame import BGR, as_bgr
from runtime.sources.source import Frame, Source

PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}


class PictureSource(Source):
    """Pictures in the order of their names; one that cannot be read is skipped and reported."""

    def __init__(self, paths: list[Path], given: str, folders: Sequence[Path] = ()) -> None:
        super().__init__()
        if not paths:
            raise SourceNotFoundError(
                f"no picture in {given!r}: expected files ending in {', '.join(sorted(PICTURES))}"
            )
        self._paths = paths
        self.count = len(paths)
        self.names = [path.stem for path in paths]
        self.inputs = [*folders, *paths]

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
