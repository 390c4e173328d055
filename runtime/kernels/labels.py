"""How soft masks become labels (a rule), how labels are painted (a paint), and what comes of it (a label map).

A rule and a paint are checked once, when they are made.

Letters: N masks, K classes (the masks, and a background if there is one), h w mask grid, H W pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.kernels.arguments import Bytes, Labels, Masks, checked_threads, described

MAX_CLASSES = 65535
LIMIT = 1e20
"""Largest magnitude of a mask, a background and a threshold; what is beyond counts as this."""


def _checked_background(background: float | None) -> float | None:
    if background is None:
        return None
    if not isinstance(background, Real):
        raise TypeError(f"background {background!r} given, expected a number or None")
    if not math.isfinite(background):
        raise ValueError(f"background {background} given, expected a finite number or None")
    return max(-LIMIT, min(float(background), LIMIT))


def _checked_thresholds(
    thresholds: npt.NDArray[Any] | Sequence[float] | None, background: float | None
) -> npt.NDArray[np.float32] | None:
    if thresholds is None:
        return None
    given = np.asarray(thresholds)
    if given.dtype.kind not in "fiu":
        raise TypeError(f"thresholds: {given.dtype} given, expected numbers")
    numbers = given.astype(np.float64)
    if numbers.ndim != 1 or len(numbers) == 0:
        raise ValueError(f"thresholds of shape {numbers.shape} given, expected (N,), one for each mask")
    if np.isnan(numbers).any():
        raise ValueError("thresholds: NaN given, expected numbers; -inf lets a mask take part everywhere")
    if background is None and numbers[0] != -np.inf:
        raise ValueError(
            f"thresholds without background given, and thresholds[0] is {numbers[0]}: pixels where no mask exceeds its "
            "threshold need a class, so give a background, or -inf for mask 0 to be the background"
        )
    limited = np.where(numbers == -np.inf, -np.inf, numbers.clip(-LIMIT, LIMIT)).astype(np.float32)
    limited.flags.writeable = False
    return limited


@dataclass(frozen=True, eq=False)
class LabelRule:
    """How soft masks become labels, and how a call runs.

    The largest value at a pixel wins, and of equal ones that of the lowest class.

    Attributes:
        background: constant value of a class 0 beside the masks, which then are classes 1 to N. None for no such
            class: the masks are classes 0 to N - 1.
        thresholds: (N,) numbers, kept as read-only float32. A mask takes part only at pixels where it exceeds its
            threshold; where none does, the pixel is background. So either there is a `background`, or mask 0 is the
            background and thresholds[0] is -inf, which lets a mask take part everywhere. None: all masks do.
        threads: rows worked on at the same time, from about one megapixel on.

    Raises:
        TypeError: a background, thresholds or threads that are no numbers.
        ValueError: a background that is not finite, thresholds that are NaN or leave a pixel without a class, or less
            than one thread.
    """

    background: float | None = None
    thresholds: npt.NDArray[Any] | None = None
    threads: int = 1

    def __post_init__(self) -> None:
        checked = {
            "background": _checked_background(self.background),
            "thresholds": _checked_thresholds(self.thresholds, self.background),
            "threads": checked_threads(self.threads),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def num_classes(self, masks: Masks) -> int:
        """Number of classes K that masks (N,h,w) make with the background.

        Raises:
            ValueError: thresholds for another number of masks, or over 65,535 classes.
        """
        if self.thresholds is not None and len(self.thresholds) != len(masks):
            raise ValueError(
                f"thresholds of shape {self.thresholds.shape} given, expected ({len(masks)},), one for each mask"
            )
        classes = len(masks) + (self.background is not None)
        if classes > MAX_CLASSES:
            raise ValueError(f"{classes} classes given, expected at most {MAX_CLASSES} with the background")
        return classes


LARGEST_WINS = LabelRule()
"""No background, no thresholds, one thread."""


@dataclass(frozen=True, eq=False)
class Paint:
    """How labels are painted over a frame.

    Attributes:
        colours: colour of each class (K,3) uint8, in the frame's channel order. With a background, the first one is
            the background's.
        alpha: opacity of the colours in [0, 1], to the nearest 1/256.
        skip: class that leaves the frame as it is, typically 0 where there is a background; None for none.

    Raises:
        TypeError: colours of another dtype.
        ValueError: a shape that does not fit, an alpha outside [0, 1], or a class without a colour to skip.
    """

    colours: Bytes
    alpha: float
    skip: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.colours, np.ndarray) or self.colours.dtype != np.uint8:
            raise TypeError(f"colours: {described(self.colours)} given, expected a uint8 array")
        if self.colours.ndim != 2 or self.colours.shape[1] != 3 or len(self.colours) == 0:
            raise ValueError(f"colours of shape {self.colours.shape} given, expected (K, 3), one colour for each class")
        if not isinstance(self.alpha, Real) or not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha {self.alpha!r} given, expected 0 to 1")
        if self.skip is not None and not 0 <= self.skip < len(self.colours):
            raise ValueError(f"skip {self.skip} given, expected None or a class from 0 to {len(self.colours) - 1}")
        object.__setattr__(self, "colours", np.ascontiguousarray(self.colours))

    @property
    def alpha_256(self) -> int:
        """Opacity in 1/256."""
        return int(self.alpha * 256 + 0.5)


@dataclass(frozen=True, eq=False)
class LabelMap:
    """The class of every pixel, and what else was asked for.

    Attributes:
        labels: class of every pixel (H,W), uint8 up to 256 classes, otherwise uint16.
        confidence: the winner's value, clamped to [0, 1], times 255, rounded half up, (H,W) uint8; None unless asked
            for.
        blended: the frame with the classes painted over it (H,W,3) uint8; None unless a paint was given.
    """

    labels: Labels
    confidence: Bytes | None = None
    blended: Bytes | None = None


def label_dtype(classes: int) -> np.dtype[Any]:
    """Give the dtype of labels of that many classes."""
    return np.dtype(np.uint8 if classes <= 256 else np.uint16)
