"""Is the data all there, and is it what the benchmarks expect (`python -m tcl_core.evaluate data DIR`)?"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tcl_core.errors import DataConfigError, DataError
from tcl_core.evaluate.benchmarks import Benchmark, LabelledPicture
from tcl_core.evaluate.layouts import CONVERSIONS, Layout, pictures_of, root_of
from tcl_core.evaluate.masks import VOID, read_numbers
from tcl_core.evaluate.names import class_names, has_background

ORIENTATION = 0x0112  # of EXIF
UPRIGHT = 1


@dataclass(frozen=True)
class Verdict:
    """What is known of one benchmark's files.

    Attributes:
        layout: what was expected.
        root: where it was looked for.
        num_pictures: named by the split, or in the folder.
        missing: why there is nothing to look at; None if there is.
        problems: each names its file; none if figures can be trusted.
        absent: classes that no mask shows.
    """

    layout: Layout
    root: Path
    num_pictures: int
    missing: str | None
    problems: tuple[str, ...]
    absent: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Whether all is there and right."""
        return self.missing is None and not self.problems


def verify(layout: Layout, data: Path, progress: Callable[[int, int], None] | None = None) -> Verdict:
    """Look at every picture and mask of a benchmark: numbers, names, labels, sizes, turned pictures.

    Args:
        layout: of the benchmark.
        data: folder of all data, or its root.
        progress: called with (pictures done, pictures in all).
    """
    root = root_of(layout, data)
    try:
        pictures = pictures_of(layout, data)
    except DataConfigError as error:
        return Verdict(layout, root, 0, str(error), (), ())
    except DataError as error:
        return Verdict(layout, root, 0, None, (str(error),), ())
    problems = []
    if len(pictures) not in layout.counts:
        expected = " or ".join(map(str, layout.counts))
        problems.append(f"{root / (layout.split or layout.images)}: {len(pictures)} pictures, expected {expected}")
    seen: Counter[int] = Counter()
    for done, picture in enumerate(pictures, start=1):
        try:
            seen.update(_look(layout, picture))
        except DataError as error:
            problems.append(str(error))
        if progress:
            progress(done, len(pictures))
    problems += _strays(layout, root, pictures)
    names = class_names(layout.key)
    order = (*names[1:], names[0]) if has_background(layout.key) else names
    absent = tuple(name for index, name in enumerate(order) if not seen[index])
    return Verdict(layout, root, len(pictures), None, tuple(problems), absent)


def _look(layout: Layout, picture: LabelledPicture) -> list[int]:
    """List the labels of one picture's mask. Raises DataError for whatever is wrong with either."""
    try:
        with picture.image.open("rb") as file, Image.open(file) as image:
            size, orientation = (image.height, image.width), image.getexif().get(ORIENTATION, UPRIGHT)
            image.load()
    except FileNotFoundError:
        raise DataError(f"no picture {picture.image}: expected {layout.obtain}") from None
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"{picture.image} cannot be read ({error}): take it again from where it came") from error
    if orientation not in (0, UPRIGHT):
        raise DataError(
            f"{picture.image} is marked as turned (EXIF orientation {orientation}), which masks never follow: take the "
            "original, or remove the mark"
        )
    if not picture.mask.is_file() and picture.unconverted is not None and picture.unconverted.is_file():
        raise DataError(
            f"no mask {picture.mask}, only {picture.unconverted.name}: "
            f"`python -m tcl_core.evaluate convert {layout.key} RAW DIR`"
        )
    labels = Benchmark(layout.key, (), layout.rule, (picture,), False).truth(picture)
    if labels.shape != size:
        raise DataError(
            f"{picture.image} has {size[1]} x {size[0]} pixels and {picture.mask} {labels.shape[1]} x "
            f"{labels.shape[0]}: expected the same"
        )
    _check_conversion(layout, picture)
    return [int(label) for label in np.unique(labels) if label != VOID]


def _check_conversion(layout: Layout, picture: LabelledPicture) -> None:
    if picture.unconverted is None or not picture.unconverted.is_file():
        return
    expected = CONVERSIONS[layout.key][read_numbers(picture.unconverted)]
    if not np.array_equal(expected, read_numbers(picture.mask)):
        raise DataError(
            f"{picture.mask} is not what {picture.unconverted.name} converts to: "
            f"`python -m tcl_core.evaluate convert {layout.key} RAW DIR --overwrite`"
        )


def _strays(layout: Layout, root: Path, pictures: tuple[LabelledPicture, ...]) -> list[str]:
    """Masks without a picture, where the folder itself is the list."""
    if layout.split is not None:
        return []
    known = {picture.mask for picture in pictures}
    lying = (path for path in (root / layout.masks).rglob(f"*{layout.mask_suffix}") if not path.name.startswith("."))
    others = ("_labelTrainIds.png", "_instanceTrainIds.png")
    strays = sorted(
        path for path in lying if path not in known and (layout.mask_suffix != ".png" or not path.name.endswith(others))
    )
    return [f"{path} has no picture in {root / layout.images}" for path in strays]


__all__ = ["Verdict", "verify"]
