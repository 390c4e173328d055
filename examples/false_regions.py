"""Count pictures in which a model sees a thing that is not there: person, animal and vehicle asked for, most not shown.

    python examples/false_regions.py BUNDLE DIR [--split test] [--all]

DIR is a folder as for `python -m tcl_core.evaluate` whose classes are those of MSRC v2. The words are three classes
with their synonyms, the background is the bundle's own. A *false region* is a connected region of one class that covers
5 % of the picture or more and of whose labelled pixels less than half show that class.

The ten pictures are fixed by a rule, not by looking: for each of the classes below in turn the first picture, by name,
that shows it on 5 % of its pixels and was not taken before, until there are ten. `--all` takes every such picture.
"""

import argparse
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track
from rich.table import Table

from runtime import Segmenter
from tcl_core.evaluate.benchmarks import VOID, Benchmark, LabelledPicture
from tcl_core.evaluate.folder import open_folder
from tcl_core.pictures import open_picture

KINDS = {
    "person": ("face", "body"),
    "animal": ("cow", "sheep", "cat", "dog", "bird"),
    "vehicle": ("car", "bicycle", "boat", "aeroplane"),
}
TURNS = ("face", "cow", "car", "body", "sheep", "bicycle", "cat", "boat", "bird", "dog", "aeroplane")
WORDS = ["person|face|body", "animal|cow|sheep|cat|dog|bird", "vehicle|car|bicycle|boat|aeroplane"]
NUM_PICTURES = 10
LARGE = 0.05  # of the picture


def pictures_of(benchmark: Benchmark, name: str) -> Iterator[LabelledPicture]:
    """List the pictures that show a class on enough of their pixels, by name."""
    if name in benchmark.names:
        number = benchmark.names.index(name)
        for picture in sorted(benchmark.pictures, key=lambda picture: picture.name):
            if (benchmark.truth(picture) == number).mean() >= LARGE:
                yield picture


def ten_pictures(benchmark: Benchmark) -> list[LabelledPicture]:
    """Take the pictures that the rule fixes."""
    waiting = {name: list(pictures_of(benchmark, name)) for name in TURNS}
    taken: dict[str, LabelledPicture] = {}
    for name in cycle(TURNS):
        left = [picture for picture in waiting[name] if picture.name not in taken]
        if left:
            taken[left[0].name] = left[0]
        if len(taken) == NUM_PICTURES or all(p.name in taken for ps in waiting.values() for p in ps):
            return list(taken.values())
    raise AssertionError  # the loop has no end


def false_regions(mask: npt.NDArray[np.integer], truth: npt.NDArray[np.uint8], names: tuple[str, ...]) -> list[str]:
    """Describe the false regions of one picture: labels (H,W), 0 the background, against classes (H,W)."""
    found = []
    for index, (kind, members) in enumerate(KINDS.items(), start=1):
        right = np.isin(truth, [names.index(name) for name in members if name in names])
        count, regions = cv2.connectedComponents((mask == index).astype(np.uint8))
        for number in range(1, count):
            region = regions == number
            labelled = region & (truth != VOID)
            if region.mean() >= LARGE and right[labelled].sum() < 0.5 * max(labelled.sum(), 1):
                found.append(f"{kind} on {region.mean():.0%}")
    return found


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("data", type=Path)
    parser.add_argument("--split")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--threshold", type=float)
    parser.add_argument("--background", default="default")
    given = parser.parse_args()
    benchmark = open_folder(given.data, split=given.split)
    if given.all:
        every = {picture.name: picture for name in TURNS for picture in pictures_of(benchmark, name)}
        pictures = list(every.values())
    else:
        pictures = ten_pictures(benchmark)
    table = Table("picture", "false regions")
    clean = 0
    with Segmenter(given.bundle, WORDS, threshold=given.threshold, background=given.background) as segmenter:
        for picture in track(pictures, disable=not given.all):
            frame = np.ascontiguousarray(np.asarray(open_picture(picture.image))[..., ::-1])
            mask = segmenter(frame).mask
            found = false_regions(mask, benchmark.truth(picture), benchmark.names)
            clean += not found
            table.add_row(picture.name, ", ".join(found) or "none")
    if not given.all:
        Console().print(table)
    print(f"{clean} of {len(pictures)} pictures without a large false region")


if __name__ == "__main__":
    main()
