"""Connected pixels of one word: where they are, how many, how sure, in the forms that other tools read.

The label map is cut into vertical runs, as COCO counts them, and runs of neighbouring columns are joined: a few ten
thousand of them instead of two million pixels, all at once in NumPy. A region keeps its runs and nothing of the map,
so that it lives on when the map's memory is used again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Runs = npt.NDArray[np.int64]
"""(R,2): first pixel and the one after the last, counted down the columns from the top left; R runs in order."""


@dataclass(frozen=True, eq=False)
class Region:
    """Pixels of one word that touch each other, at a corner at least (8-connected).

    Attributes:
        class_index: index of the word.
        name: the word.
        box: (x1, y1, x2, y2) in pixels; the columns x1 to x2 - 1 and rows y1 to y2 - 1, so that x2 - x1 is the width.
        area: number of pixels.
        confidence: mean soft mask of its pixels, 0 to 1.
        size: (height, width) of the frame.
        runs: its pixels (R,2); see `Runs`. Runs that touch are one.
    """

    class_index: int
    name: str
    box: tuple[int, int, int, int]
    area: int
    confidence: float
    size: tuple[int, int]
    runs: Runs = field(repr=False)

    @property
    def counts(self) -> list[int]:
        """COCO's uncompressed run lengths: pixels outside and inside by turns, down the columns of the whole frame."""
        return [int(count) for count in counts_of(self.runs, self.size[0] * self.size[1])]

    @property
    def rle(self) -> dict[str, Any]:
        """COCO's compressed form, {"size": [height, width], "counts": text}, as pycocotools and others decode it."""
        return {"size": list(self.size), "counts": compressed(counts_of(self.runs, self.size[0] * self.size[1]))}

    @cached_property
    def crop(self) -> npt.NDArray[np.bool_]:
        """Which pixels of the box belong to it, (y2 - y1, x2 - x1)."""
        x1, y1, x2, y2 = self.box
        column, row = np.divmod(self.runs[:, 0], self.size[0])
        first = (column - x1) * (y2 - y1) + row - y1  # a run over several columns fills them, and so does the box
        change = np.zeros((x2 - x1) * (y2 - y1) + 1, np.int8)
        change[first] = 1
        change[first + self.runs[:, 1] - self.runs[:, 0]] -= 1
        return np.ascontiguousarray(np.cumsum(change[:-1], dtype=np.int8).reshape(x2 - x1, y2 - y1).T).view(np.bool_)

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """Which pixels of the frame belong to it, (H,W)."""
        whole = np.zeros(self.size, np.bool_)
        x1, y1, x2, y2 = self.box
        whole[y1:y2, x1:x2] = self.crop
        return whole

    @property
    def polygon(self) -> npt.NDArray[np.int32]:
        """Its outer border, corners (P,2) as (x, y): the centres of border pixels, which belong to the region."""
        return self._borders[0]

    @property
    def holes(self) -> list[npt.NDArray[np.int32]]:
        """The borders of its holes, each (P,2) as `polygon`: centres of the pixels around the hole."""
        return self._borders[1:]

    @cached_property
    def _borders(self) -> list[npt.NDArray[np.int32]]:
        found, levels = cv2.findContours(self.crop.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        corner = np.array(self.box[:2], np.int32)
        borders = [(border.reshape(-1, 2) + corner).astype(np.int32) for border in found]
        outer = int(np.flatnonzero(levels.reshape(-1, 4)[:, 3] < 0)[0])  # connected, so there is one
        return [borders.pop(outer), *borders]


def find_regions(
    mask: npt.NDArray[Any],
    names: Sequence[str],
    confidence: npt.NDArray[np.uint8],
    *,
    skip: int | None = None,
    min_area: int = 1,
) -> list[Region]:
    """Find the connected regions of every class.

    Args:
        mask: class of every pixel (H,W) uint8 or uint16.
        names: the word of each class.
        confidence: (H,W) uint8, 255 for 1.0.
        skip: a class that is left out.
        min_area: pixels of the smallest region that counts.

    Returns:
        The regions, largest first; those of equal area by class, then from left to right.

    Raises:
        ValueError: a smallest region of less than one pixel.
    """
    if min_area < 1:
        raise ValueError(f"min_area {min_area} given, expected at least 1 pixel")
    height, width = mask.shape
    upright = cv2.transpose(mask)  # (W,H): columns lie one after the other
    runs, classes = _columns_cut(upright)
    sureness = np.add.reduceat(cv2.transpose(confidence).ravel(), runs[:, 0], dtype=np.int64)
    labels = _joined(runs, classes, height)
    kept = np.flatnonzero(classes != skip) if skip is not None else np.arange(len(runs))
    order = kept[np.argsort(labels[kept], kind="stable")]  # each region's runs together, in their own order
    if len(order) == 0:
        return []
    runs, classes, labels, sureness = runs[order], classes[order], labels[order], sureness[order]
    first = np.flatnonzero(np.concatenate([[True], labels[1:] != labels[:-1]]))
    last = np.concatenate([first[1:], [len(runs)]]) - 1

    lengths = runs[:, 1] - runs[:, 0]
    rows = runs[:, 0] % height
    areas = np.add.reduceat(lengths, first)
    means = np.add.reduceat(sureness, first) / (255 * areas)
    boxes = np.stack(
        [
            runs[first, 0] // height,
            np.minimum.reduceat(rows, first),
            runs[last, 0] // height + 1,
            np.maximum.reduceat(rows + lengths, first),
        ],
        axis=1,
    )

    chosen = np.flatnonzero(areas >= min_area)
    chosen = chosen[np.lexsort((runs[first[chosen], 0], classes[first[chosen]], -areas[chosen]))]
    return [
        Region(
            class_index=(index := int(classes[first[i]])),
            name=names[index],
            box=(int(boxes[i, 0]), int(boxes[i, 1]), int(boxes[i, 2]), int(boxes[i, 3])),
            area=int(areas[i]),
            confidence=float(means[i]),
            size=(height, width),
            runs=_merged(runs[first[i] : last[i] + 1]),
        )
        for i in chosen
    ]


def _columns_cut(upright: npt.NDArray[Any]) -> tuple[Runs, npt.NDArray[Any]]:
    """Cut a map (W,H) into runs of one class, none over the end of a column, and give the class of each."""
    begins = np.ones(upright.shape, np.bool_)
    np.not_equal(upright[:, 1:], upright[:, :-1], out=begins[:, 1:])
    starts = np.flatnonzero(begins)
    return np.stack([starts, np.append(starts[1:], upright.size)], axis=1), upright.ravel()[starts]


def _joined(runs: Runs, classes: npt.NDArray[Any], height: int) -> npt.NDArray[np.int64]:
    """Number the runs (R,) so that those of one region, and no others, have the same number."""
    left, right = _neighbours(runs, height)
    same = classes[left] == classes[right]
    left, right = left[same], right[same]
    number = np.arange(len(runs))
    # Every root that touches a smaller one is hung under it: at least half of those that can go do so in each round.
    while len(left):
        a, b = number[left], number[right]
        np.minimum.at(number, np.maximum(a, b), np.minimum(a, b))
        while not np.array_equal(above := number[number], number):
            number = above
        apart = number[left] != number[right]
        left, right = left[apart], right[apart]
    return number


def _neighbours(runs: Runs, height: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Pair each run with those of the next column that it touches, at a corner at least."""
    starts, ends = runs[:, 0], runs[:, 1]
    inner = np.flatnonzero(starts < starts[-1] // height * height)  # all but the last column's
    column = starts[inner] // height * height
    above = np.maximum(starts[inner] - 1, column) + height
    below = np.minimum(ends[inner], column + height - 1) + height
    first = np.searchsorted(starts, above, side="right") - 1  # the runs tile their column: each pixel is in one
    count = np.searchsorted(starts, below, side="right") - first
    step = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return np.repeat(inner, count), np.repeat(first, count) + step


def _merged(runs: Runs) -> Runs:
    """Make one of runs that touch, from the end of a column, or row, to the head of the next."""
    apart = runs[1:, 0] != runs[:-1, 1]
    return np.stack([runs[np.append(True, apart), 0], runs[np.append(apart, True), 1]], axis=1)


def box_counts(region: Region) -> npt.NDArray[np.int64]:
    """Pixels outside and inside by turns (C,), beginning outside, along the rows of the box."""
    return counts_of(_runs_in(region.crop.ravel()), region.crop.size)


def row_counts(region: Region) -> npt.NDArray[np.int64]:
    """Pixels outside and inside by turns (C,), beginning outside, along the rows of the whole frame."""
    x1, y1, _, _ = region.box
    height, width = region.size
    separated = np.pad(region.crop, ((0, 0), (0, 1)))  # no run goes from one row to the next
    row, column = np.divmod(_runs_in(separated.ravel()), separated.shape[1])
    return counts_of(_merged((row + y1) * width + column + x1), height * width)


def _runs_in(flat: npt.NDArray[np.bool_]) -> Runs:
    """Find where a row of pixels is true."""
    return np.flatnonzero(np.diff(flat.view(np.int8), prepend=0, append=0)).reshape(-1, 2)


def counts_of(runs: Runs, num_pixels: int) -> npt.NDArray[np.int64]:
    """Lengths outside and inside by turns (C,), beginning outside; the last may be either, and is not 0."""
    edges = np.concatenate([[0], runs.ravel(), [num_pixels]])
    counts = np.diff(edges)
    return counts if counts[-1] else counts[:-1]


def compressed(counts: npt.NDArray[np.int64]) -> str:
    """Write counts as COCO's text: differences to the count two before, in groups of five bits, each a character."""
    values = counts.copy()
    values[3:] -= counts[1:-2]
    groups = max(int(np.abs(values).max()).bit_length() // 5 + 1, 1)  # one bit more than the magnitude has: the sign
    shifted = values[:, None] >> (5 * np.arange(groups))  # (C,groups), lowest first
    low, rest = shifted & 31, shifted >> 5
    more = np.where(low & 16, rest != -1, rest != 0)
    needed = np.concatenate([np.ones((len(values), 1), np.bool_), np.cumprod(more, axis=1)[:, :-1] > 0], axis=1)
    return bytes(((low | (more << 5)) + 48)[needed].astype(np.uint8)).decode("ascii")
