"""Pictures with the words painted over them."""

from pathlib import Path

import numpy as np

from runtime.frame import BGR
from runtime.segmentation import Segmentation, write_picture
from runtime.sinks.sink import Sink, _make_folder, _numbered
from runtime.sources.source import Frame


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
