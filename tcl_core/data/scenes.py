"""Synthetic scenes: coloured shapes on a ground, a caption that names some of them, and the masks of all.

Small enough to train on in a minute. The masks are for evaluation; no loss ever sees them.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from tcl_core.data.samples import Sample
from tcl_core.errors import Problem

SHAPES = ("circle", "square", "triangle", "cross")
COLOURS = {
    "red": (220, 50, 40),
    "green": (40, 170, 60),
    "blue": (50, 80, 220),
    "yellow": (235, 210, 50),
    "purple": (150, 60, 190),
}
PHRASES = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)


@dataclass(frozen=True, eq=False)
class Scene:
    """One picture and what is known about it.

    Attributes:
        rgb: (H,W,3) uint8.
        caption: names at least one object, in a sentence.
        phrases: of the objects, from `PHRASES`, each once.
        label_map: (H,W) uint8; 0 is the ground, k the object of phrases[k - 1].
    """

    rgb: npt.NDArray[np.uint8]
    caption: str
    phrases: tuple[str, ...]
    label_map: npt.NDArray[np.uint8]


def _inside(shape: str, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Tell which points belong to a shape of radius 1 around the origin."""
    if shape == "circle":
        return x**2 + y**2 <= 1
    if shape == "square":
        return (abs(x) <= 0.85) & (abs(y) <= 0.85)
    if shape == "triangle":
        return (y <= 0.8) & (y >= 2 * abs(x) - 1)
    return ((abs(x) <= 0.35) & (abs(y) <= 1)) | ((abs(y) <= 0.35) & (abs(x) <= 1))


def draw_scene(seed: int, size: int = 64) -> Scene:
    """Draw one scene, always the same for a seed.

    Two or three objects that do not hide each other, each in a quarter of the picture of its own; the caption names one
    or two of them, as captions do.

    Args:
        seed: 0 or more.
        size: side in pixels, 16 or more.
    """
    if size < 16:
        raise ValueError(f"a scene of {size} pixels: expected 16 or more, or shapes cannot be told apart")
    chance = np.random.default_rng(seed)
    colours = np.broadcast_to(chance.integers(90, 165) + chance.integers(-20, 20, 3), (size, size, 3)).astype(
        np.float32
    )
    label_map = np.zeros((size, size), np.uint8)
    phrases = tuple(str(phrase) for phrase in chance.choice(PHRASES, chance.integers(2, 4), replace=False))
    quarters = chance.permutation(4)
    columns = np.arange(size) + 0.5
    rows = columns[:, None]
    for number, phrase in enumerate(phrases):
        colour, shape = phrase.split()
        radius = size * chance.uniform(0.15, 0.22)
        row, column = np.divmod(quarters[number], 2)
        slack = size / 4 - radius
        y, x = (np.array([row, column]) + 0.5) * size / 2 + chance.uniform(-slack, slack, 2)
        inside = _inside(shape, (columns - x) / radius, (rows - y) / radius)
        colours[inside] = COLOURS[colour]
        label_map[inside] = number + 1
    noise = 12 * chance.standard_normal((size, size, 1), dtype=np.float32)
    rgb = (colours + noise).clip(0, 255).astype(np.uint8)
    named = phrases[: chance.integers(1, 3)]
    return Scene(rgb, " and ".join(f"a {phrase}" for phrase in named), phrases, label_map)


class Scenes:
    """Scenes by number; a source of samples.

    Args:
        count: samples.
        size: side in pixels.
        first: seed of the first scene.
    """

    def __init__(self, count: int, size: int = 64, first: int = 0) -> None:
        self.count, self.size, self.first = count, size, first
        self.problems: list[Problem] = []
        self.groups: npt.NDArray[np.int32] = np.arange(count, dtype=np.int32)

    def __len__(self) -> int:
        """Count the samples."""
        return self.count

    def read(self, number: int, mode: str = "RGB") -> Sample:
        """Draw a scene, without its masks."""
        scene = draw_scene(self.first + number, self.size)
        return Sample(Image.fromarray(scene.rgb).convert(mode), scene.caption, f"scene {self.first + number}")


__all__ = ["PHRASES", "Scene", "Scenes", "draw_scene"]
