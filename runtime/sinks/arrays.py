"""Masks as NumPy arrays."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.atomic_file import GrowingFile
from runtime.errors import SinkError, SinkNameError, WriteError
from runtime.frame import BGR
from runtime.segmentation import Segmentation
from runtime.sinks.output import Outputs
from runtime.sinks.record import as_text
from runtime.sinks.sink import Sink, make_folder
from runtime.sources.source import Frame, Source

NAMES = "names"


class ArraySink(Sink):
    """The mask of each frame (H,W) under the frame's name in one .npz, and `names`, the word of each index.

    Arrays are packed and written as they come: `np.load(path)` reads one at a time, too. Masks without the names of
    their own words would be read with the wrong ones, so a file has one list of words.
    """

    paints = False
    one_word_list = True

    def __init__(self, path: Path, source: Source, words: tuple[str, ...], outputs: Outputs) -> None:
        if NAMES in (source.names or ()):
            raise SinkNameError(f"{path} keeps the words under {NAMES!r}, and a picture has that name: rename it")
        outputs.claim(path)
        make_folder(path.parent)
        self._path, self._words = path, words
        self._file: GrowingFile | None = None
        self._archive: zipfile.ZipFile | None = None

    def write(self, result: Segmentation, frame: Frame, picture: BGR) -> None:
        """Append the mask of a frame."""
        if result.names != self._words:
            raise SinkError("the words changed while masks were written: begin a new file for new words")
        if self._file is None:
            self._file = GrowingFile(self._path)
            with self._told():
                self._archive = zipfile.ZipFile(self._file.file, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
            self._append(NAMES, np.array(self._words))
        self._append(as_text(frame.name), result.mask)

    def _append(self, name: str, array: npt.NDArray[Any]) -> None:
        assert self._archive is not None
        member = f"{name}.npy"
        if member in self._archive.NameToInfo:
            raise SinkError(f"two arrays would be called {name!r} in {self._path}")
        with self._told(), self._archive.open(member, "w", force_zip64=True) as file:
            np.lib.format.write_array(file, array, allow_pickle=False)

    def close(self, *, complete: bool) -> None:
        """End the file, and give it its name if all masks are in it."""
        file, archive, self._file, self._archive = self._file, self._archive, None, None
        if file is None or archive is None:
            return
        whole = False
        try:
            with self._told(file):
                archive.close()
            whole = complete
        finally:
            self.partial = file.close(complete=whole)

    @contextmanager
    def _told(self, file: GrowingFile | None = None) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            growing = file or self._file
            place = self._path if growing is None else growing.partial
            raise WriteError(place, error.strerror or str(error)) from error
