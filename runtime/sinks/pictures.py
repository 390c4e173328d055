"""Pictures with the words painted over them."""

from pathlib import Path

import numpy as np

from runtime.atomic_file import GrowingFile
from runtime.errors import SinkNameError
from runtime.frame import BGR
from runtime.segmentation import Segmentation, encoded_picture, write_picture
from runtime.sinks.output import Outputs, numbered
from runtime.sinks.sink import Sink, make_folder
from runtime.sources.source import Frame, Source


class OverlaySink(Sink):
    """A picture a frame with the words painted over it."""

    def __init__(self, pattern: Path, source: Source, words: tuple[str, ...], outputs: Outputs) -> None:
        outputs.check_pattern(pattern, source.names)
        make_folder(pattern.parent)
        self._pattern, self._outputs = pattern, outputs

    def write(self, result: Segmentation, frame: Frame, picture: BGR) -> None:
        """Write the picture of a frame."""
        path = numbered(self._pattern, frame.index, frame.name)
        self._outputs.claim(path)
        write_picture(path, picture)


class PictureSink(Sink):
    """One picture: of a stream, the frame over which the words spread most evenly (highest entropy of coverage)."""

    def __init__(self, path: Path, source: Source, outputs: Outputs) -> None:
        if source.names is not None and len(source.names) > 1:
            raise SinkNameError(
                f"{path} is one picture, and the source has {len(source.names)}: name a folder for the results, like "
                f"{path.with_suffix('')}/"
            )
        outputs.claim(path)
        make_folder(path.parent)
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
        """Write the picture, if there was a frame: under its name if all frames were seen."""
        best, self._best = self._best, None
        if best is not None:
            data = encoded_picture(self._path, best)
            file = GrowingFile(self._path)
            try:
                file.write(data)
            except BaseException:
                file.discard()
                raise
            self.partial = file.close(complete=complete)
