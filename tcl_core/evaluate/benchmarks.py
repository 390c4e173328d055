"""Pictures with known masks, to measure on: a folder of the user's own."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from tcl_core.errors import DataError
from tcl_core.prompts import BACKGROUND, Word

VOID = 255


@dataclass(frozen=True)
class LabelledPicture:
    """A picture and the mask that belongs to it, both still on disk."""

    name: str
    image: Path
    mask: Path


@dataclass(frozen=True)
class Benchmark:
    """What is segmented and by which words.

    Attributes:
        name: of the data.
        words: class k of the truth is words[k].
        numbers: (256,) uint8, value of a mask's pixel -> class; `background` and `VOID` included.
        pictures: at least one.
        has_background: whether class len(words) stands for pixels of no class.
    """

    name: str
    words: tuple[Word, ...]
    numbers: npt.NDArray[np.uint8]
    pictures: tuple[LabelledPicture, ...]
    has_background: bool

    @property
    def names(self) -> tuple[str, ...]:
        """Name of every class of the truth, the background last if there is one."""
        return (*(word.name for word in self.words), *([BACKGROUND] if self.has_background else []))

    def thinned(self, count: int) -> "Benchmark":
        """Take so many pictures at most, evenly spread."""
        if count >= len(self.pictures):
            return self
        chosen = (index * len(self.pictures) // count for index in range(count))
        return replace(self, pictures=tuple(self.pictures[index] for index in chosen))

    def truth(self, picture: LabelledPicture) -> npt.NDArray[np.uint8]:
        """Read a mask: (H,W) uint8, class or VOID.

        Raises:
            DataError: no picture of one channel, or values that are no line of classes.txt.
        """
        try:
            with Image.open(picture.mask) as file:
                values = np.asarray(file)
        except (OSError, ValueError, SyntaxError) as error:
            raise DataError(f"{picture.mask} cannot be read ({error}): expected a PNG of class numbers") from error
        if values.ndim != 2 or values.dtype != np.uint8:
            raise DataError(f"{picture.mask}: expected one channel of 8 bits, a class number a pixel")
        known = np.append(self._given, VOID)
        strange = np.setdiff1d(np.unique(values), known)
        if len(strange):
            raise DataError(
                f"{picture.mask} has the value {strange[0]}: expected 0 to {len(self._given) - 1}, the lines of "
                f"classes.txt counted from 0, or {VOID} for pixels that do not count"
            )
        labels: npt.NDArray[np.uint8] = self.numbers[values]
        return labels

    @property
    def _given(self) -> npt.NDArray[np.uint8]:
        return np.flatnonzero(self.numbers[:VOID] != _UNKNOWN).astype(np.uint8)


_UNKNOWN = 254  # in `numbers`: no line of classes.txt; VOID there is a line that was left out


__all__ = ["VOID", "Benchmark", "LabelledPicture"]
