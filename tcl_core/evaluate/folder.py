"""A folder of the user's own pictures and masks, as a benchmark."""

from pathlib import Path

import numpy as np

from tcl_core.errors import DataConfigError, DataError
from tcl_core.evaluate.benchmarks import Benchmark, LabelledPicture
from tcl_core.evaluate.masks import UNKNOWN, VOID, LabelRule
from tcl_core.evaluate.text_files import read_lines
from tcl_core.prompts import BACKGROUND, Word, parse_words


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
        DataConfigError: no such folder, split or class.
        DataError: files are missing or do not fit together.
    """
    classes = _read_classes(path / "classes.txt")
    strange = set(without) - {word.name for word in classes}
    if strange:
        raise DataConfigError(f"no class {sorted(strange)[0]!r} in {path / 'classes.txt'}: leave out what is there")
    words = tuple(word for word in classes if word.name != BACKGROUND and word.name not in without)
    if not words:
        raise DataConfigError(f"{path / 'classes.txt'} leaves no word to segment by: expected one class at least")
    has_background = any(word.name == BACKGROUND for word in classes) and BACKGROUND not in without
    numbers = np.full(256, UNKNOWN, np.uint8)
    for line, word in enumerate(classes):
        if word.name in without:
            numbers[line] = VOID
        else:
            numbers[line] = len(words) if word.name == BACKGROUND else words.index(word)
    numbers[VOID] = VOID
    allowed = (
        f"0 to {len(classes) - 1}, the lines of classes.txt counted from 0, or {VOID} for pixels that do not count"
    )
    return Benchmark(path.name, words, LabelRule(numbers, allowed), _pictures(path, split), has_background)


def _read_classes(path: Path) -> list[Word]:
    lines = read_lines(path, "one class a line, beside images/ and masks/")
    try:
        classes = [word for line in lines for word in parse_words(line)]
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None
    if len(classes) != len(lines) or not 0 < len(lines) < UNKNOWN:
        raise DataError(f"{path} has {len(lines)} lines: expected 1 to {UNKNOWN - 1}, one class a line, no comma")
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
            raise DataConfigError(f"{path / 'split.txt'} names {missing[0]}, which is not in {path / 'images'}")
    if not images:
        raise DataConfigError(f"no picture in {path / 'images'}: expected images/NAME.* and masks/NAME.png")
    pictures = tuple(LabelledPicture(image.stem, image, path / "masks" / f"{image.stem}.png") for image in images)
    for picture in pictures:
        if not picture.mask.is_file():
            raise DataError(f"no mask {picture.mask} for {picture.image}")
    return pictures


def _names_of(path: Path, split: str) -> set[str]:
    rows = [line.split("\t") for line in read_lines(path, "lines of NAME<tab>SPLIT") if line]
    if any(len(row) != 2 for row in rows):
        raise DataError(f"{path}: expected lines of NAME<tab>SPLIT")
    chosen = {name for name, half in rows if half == split}
    if not chosen:
        raise DataConfigError(
            f"{path} has no split {split!r}: expected one of {', '.join(sorted({half for _, half in rows}))}"
        )
    return chosen


__all__ = ["open_folder"]
