"""Real pictures: what the exported graph is compared and calibrated on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from export.errors import OptionError
from runtime.bundle import InputSpec
from runtime.errors import FrameError, SourceError
from runtime.frame import BGR, Preprocessor
from runtime.sources.open import SHIPPED_CLIP
from runtime.sources.picture_names import in_natural_order
from runtime.sources.pictures import is_picture, read_pictures

MOST = 64
"""Pictures of a calibration folder that are used; more change little and take time."""

FEWEST = 8
"""Pictures that int8 needs: they are divided, so that what is measured on some is judged on others."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """Real pictures, divided by what they serve for.

    Attributes:
        judged: whether the result is written.
        measured: for int8, the size of numbers, and how they go together.
        searched: for int8, what may be in it.
    """

    judged: list[BGR]
    measured: list[BGR] = field(default_factory=list)
    searched: list[BGR] = field(default_factory=list)

    @classmethod
    def divided(cls, pictures: Sequence[BGR]) -> "Pictures":
        """Deal pictures out in turn: a quarter to judge, half to measure, a quarter to search."""
        return cls(judged=list(pictures[::4]), measured=list(pictures[1::2]), searched=list(pictures[2::4]))


def load_pictures(calibration: Path | None) -> Pictures:
    """Read the pictures that a graph is calibrated and compared on.

    Args:
        calibration: folder of pictures like those the camera will see; None for the shipped ones, to compare alone.

    Raises:
        OptionError: see `folder_pictures`.
    """
    if calibration is None:
        return Pictures(judged=shipped_pictures())
    return Pictures.divided(folder_pictures(calibration))


def shipped_pictures() -> list[BGR]:
    """Take six pictures from the shipped clip: three moments, each whole and its middle enlarged."""
    capture = cv2.VideoCapture(str(SHIPPED_CLIP))
    frames: list[BGR] = []
    while (read := capture.read())[0]:
        frames.append(np.asarray(read[1], np.uint8))
    capture.release()
    if not frames:
        raise SourceError(f"{SHIPPED_CLIP} has no frames: install the package again")
    chosen = [frames[(2 * third + 1) * len(frames) // 6] for third in range(3)]
    height, width = frames[0].shape[:2]
    middle = slice(height // 4, 3 * height // 4), slice(width // 4, 3 * width // 4)
    return [picture for frame in chosen for picture in (frame, np.ascontiguousarray(frame[middle]))]


def folder_pictures(folder: Path) -> list[BGR]:
    """Read the pictures of a folder, at most 64, evenly spaced in natural order of their names.

    Raises:
        OptionError: there is no such folder, fewer than 8 pictures in it, or one that cannot be read.
    """
    paths = picture_paths(folder)
    step = max(len(paths) / MOST, 1)
    return [_read(paths[int(index * step)]) for index in range(min(len(paths), MOST))]


def picture_paths(folder: Path) -> list[Path]:
    """List the pictures of a folder; errors as for `folder_pictures`."""
    if not folder.is_dir():
        raise OptionError(f"--calib {folder} is no folder: expected one with pictures like those the camera will see")
    visible = (path for path in folder.rglob("*") if not path.name.startswith("."))
    paths = in_natural_order(path for path in visible if is_picture(path))
    if not paths:
        raise OptionError(f"no picture in {folder}: expected files of a kind that OpenCV reads, such as JPEG or PNG")
    if len(paths) < FEWEST:
        raise OptionError(f"{len(paths)} pictures in {folder}, expected {FEWEST} at least, and better some dozens")
    return paths


def _read(path: Path) -> BGR:
    """Read a picture, or the first of an animation, as the runtime does."""
    try:
        picture, _ = next(read_pictures(path))
    except (SourceError, FrameError) as error:
        raise OptionError(f"{path}: {error}; take it out of the folder") from None
    return picture


def as_input(pictures: Sequence[BGR], spec: InputSpec, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Make pictures a graph's input (B,3,h,w) of a size, as the runtime does."""
    prepare = Preprocessor(spec.model_copy(update={"size": size}))
    return np.concatenate([prepare(picture) for picture in pictures])
