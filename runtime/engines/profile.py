"""Which sizes an engine is built for: a range for every free dimension of a graph."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from runtime.bundle import GraphSpec, InputSpec
from runtime.errors import EngineError, EngineOptionError
from runtime.frame import input_size

MOST_WORDS = 256
"""Phrases, background words included, that an engine takes unless more are asked for."""

USUAL_WORDS = 32
"""Phrases that it is tuned for."""

STRETCH = 1.6
"""Sides of the input, relative to those of a square of its area: frames up to 2.56 times as wide as high, or as high
as wide. Memory grows with the square."""

USUAL_FRAME = (1080, 1920)
"""Height and width of the frames that an engine of free size is tuned for; only their ratio counts."""


class Range(NamedTuple):
    """Sizes of one dimension: the least, the one to be tuned for, the most."""

    least: int
    usual: int
    most: int


@dataclass(frozen=True)
class Profile:
    """A range for every free dimension, by the name that it has in `GraphSpec`."""

    ranges: Mapping[str, Range]

    def shapes(self, spec: GraphSpec) -> dict[str, tuple[tuple[int, ...], ...]]:
        """Give the least, usual and most shape of every input.

        Raises:
            EngineError: the graph has a free dimension that the profile does not know.
        """
        unknown = {size for shape in spec.inputs.values() for size in shape if isinstance(size, str)} - set(self.ranges)
        if unknown:
            raise EngineError(f"{spec.file} has free dimensions {sorted(unknown)}, known are {sorted(self.ranges)}")
        return {
            name: tuple(
                tuple(self.ranges[size][i] if isinstance(size, str) else size for size in shape) for i in range(3)
            )
            for name, shape in spec.inputs.items()
        }

    def lacking(self, required: "Profile") -> str:
        """Say in which dimension this profile is too narrow for another; empty if it is not."""
        for name, need in required.ranges.items():
            have = self.ranges.get(name)
            if have is None or have.least > need.least or have.most < need.most:
                given = "none" if have is None else f"{have.least} to {have.most}"
                return f"it takes {given} {name}, needed are {need.least} to {need.most}"
        return ""


def segmenter_profile(spec: InputSpec, *, words: int, batch: int = 1) -> Profile:
    """Make the profile of a segmenter graph.

    Args:
        spec: the bundle's input; a free size gives ranges for all usual shapes of frames.
        words: most phrases at once, background words included.
        batch: most images at once.

    Raises:
        EngineOptionError: `words` or `batch` is below 1.
    """
    if words < 1 or batch < 1:
        raise EngineOptionError(
            f"an engine for {words} words and batches of {batch} given, expected at least 1 of each"
        )
    height, width = _sides(spec)
    return Profile(
        {
            "batch": Range(1, 1, batch),
            "height": height,
            "width": width,
            "words": Range(1, min(USUAL_WORDS, words), words),
        }
    )


def _sides(spec: InputSpec) -> tuple[Range, Range]:
    if isinstance(spec.size, tuple):
        height, width = spec.size
        return Range(height, height, height), Range(width, width, width)
    step = spec.multiple_of
    least = max(math.floor(spec.size / STRETCH / step), 1) * step
    most = math.ceil(spec.size * STRETCH / step) * step
    height, width = (min(max(side, least), most) for side in input_size(USUAL_FRAME, spec))
    return Range(least, height, most), Range(least, width, most)
