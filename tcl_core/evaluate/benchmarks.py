"""Pictures with known masks, to measure on."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tcl_core.errors import DataError
from tcl_core.evaluate.masks import VOID, LabelRule, Labels, read_labels, read_numbers
from tcl_core.prompts import BACKGROUND, Word


@dataclass(frozen=True)
class LabelledPicture:
    """A picture and the mask that belongs to it, both still on disk.

    Attributes:
        name: unique in its benchmark.
        image: file of the picture.
        mask: file of its mask.
        unconverted: file with the numbers that the mask was converted from, if it lies beside.
    """

    name: str
    image: Path
    mask: Path
    unconverted: Path | None = None


@dataclass(frozen=True, eq=False)
class Benchmark:
    """What is segmented and by which words.

    Attributes:
        name: of the data.
        words: class k of the truth is words[k].
        rule: value of a mask's pixel -> class; `len(words)` for the background, and VOID.
        pictures: at least one.
        has_background: whether class len(words) stands for pixels of no class.
        background: what the background is called in prompts, for protocols that prompt it too.
    """

    name: str
    words: tuple[Word, ...]
    rule: LabelRule
    pictures: tuple[LabelledPicture, ...]
    has_background: bool
    background: tuple[Word, ...] = ()

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

    def truth(self, picture: LabelledPicture) -> Labels:
        """Read a mask: (H,W) uint8, class or VOID.

        Raises:
            DataError: no picture of one channel of 8 bits, values that no mask may have, or one that was never
                converted.
        """
        labels = read_labels(picture.mask, self.rule)
        if self.rule.conversion is not None and picture.unconverted is not None and picture.unconverted.is_file():
            stored, raw = read_numbers(picture.mask), read_numbers(picture.unconverted)
            if np.array_equal(stored, raw) and not np.array_equal(self.rule.conversion[raw], stored):
                raise DataError(
                    f"{picture.mask} holds the numbers of {picture.unconverted.name} as they are: expected "
                    f"{self.rule.values}{self.rule.advice}"
                )
        return labels


__all__ = ["VOID", "Benchmark", "LabelledPicture"]
