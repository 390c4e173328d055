"""A moving test picture without any file."""

import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

import cv2
import numpy as np

from runtime.errors import SourceNotFoundError
from runtime.frame import as_bgr
from runtime.sources.source import Frame, Source


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
            raise SourceNotFoundError(f"{uri!r} given, expected test://pattern?size=640x480&frames=100&fps=25")
        self._width, self._height = int(size[1]), int(size[2])
        self.count = int(frames) if frames else None
        self.ends = self.count is not None
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
