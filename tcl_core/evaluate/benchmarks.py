"""Pictures with known masks, to measure on: a folder of the user's own."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from tcl_core.errors import DataError
from tcl_core.prompts import Word, parse_words

VOID = 255
BACKGROUND = "background"


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


def open_folder(path: Path, *, split: str | None = None, without: tuple[str, ...] = ()) -> Benchmark:
    """Open `images/NAME.*`, `masks/NAME.png` and `classes.txt`.

    A line of classes.txt is a class as typed for segmentation, `sofa|couch`; the pixels of line k have the value k, 255
    does not count. A class called `background` is no word: it stands for pixels of no class. `split.txt`, where it
    exists, has a line `NAME<tab>SPLIT` a picture.

    Args:
        path: of the folder.
        split: take the pictures of this split only.
        without: classes whose words do not compete and whose pixels do not count.

    Raises:
        DataError: files are missing or do not fit together.
    """
    classes = _read_classes(path / "classes.txt")
    strange = set(without) - {word.name for word in classes}
    if strange:
        raise DataError(f"no class {sorted(strange)[0]!r} in {path / 'classes.txt'}: leave out what is there")
    words = tuple(word for word in classes if word.name != BACKGROUND and word.name not in without)
    if not words:
        raise DataError(f"{path / 'classes.txt'} leaves no word to segment by: expected one class at least")
    has_background = any(word.name == BACKGROUND for word in classes) and BACKGROUND not in without
    numbers = np.full(256, _UNKNOWN, np.uint8)
    for line, word in enumerate(classes):
        if word.name in without:
            numbers[line] = VOID
        else:
            numbers[line] = len(words) if word.name == BACKGROUND else words.index(word)
    numbers[VOID] = VOID
    return Benchmark(path.name, words, numbers, _pictures(path, split), has_background)


def _read_classes(path: Path) -> list[Word]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read ({error}): expected one class a line, beside images/ and masks/"
        ) from None
    while lines and not lines[-1]:
        lines.pop()
    try:
        classes = [word for line in lines for word in parse_words(line)]
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None
    if len(classes) != len(lines) or not 0 < len(lines) < _UNKNOWN:
        raise DataError(f"{path} has {len(lines)} lines: expected 1 to {_UNKNOWN - 1}, one class a line, no comma")
    names = [word.name for word in classes]
    if len(set(names)) < len(names):
        raise DataError(f"{path} names a class twice: expected every one once")
    return classes


def _pictures(path: Path, split: str | None) -> tuple[LabelledPicture, ...]:
    images = sorted(item for item in (path / "images").glob("*") if item.is_file())
    if split is not None:
        chosen = _names_of(path / "split.txt", split)
        images = [image for image in images if image.stem in chosen]
        missing = sorted(chosen - {image.stem for image in images})
        if missing:
            raise DataError(f"{path / 'split.txt'} names {missing[0]}, which is not in {path / 'images'}")
    if not images:
        raise DataError(f"no picture in {path / 'images'}: expected images/NAME.* and masks/NAME.png")
    pictures = tuple(LabelledPicture(image.stem, image, path / "masks" / f"{image.stem}.png") for image in images)
    for picture in pictures:
        if not picture.mask.is_file():
            raise DataError(f"no mask {picture.mask} for {picture.image}")
    return pictures


def _names_of(path: Path, split: str) -> set[str]:
    try:
        rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}): expected lines of NAME<tab>SPLIT") from None
    if any(len(row) != 2 for row in rows):
        raise DataError(f"{path}: expected lines of NAME<tab>SPLIT")
    chosen = {name for name, half in rows if half == split}
    if not chosen:
        raise DataError(
            f"{path} has no split {split!r}: expected one of {', '.join(sorted({half for _, half in rows}))}"
        )
    return chosen


__all__ = ["BACKGROUND", "VOID", "Benchmark", "LabelledPicture", "open_folder"]
