"""What plain IoU hides: how well edges are met, and what becomes of small things."""

from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

BOUNDARY_SHARE = 0.02
"""Width of a boundary, as a share of the diagonal (Cheng et al., Boundary IoU, CVPR 2021)."""
SMALL_SHARE = 0.01
"""A component with fewer pixels than this share of its picture is small."""

LabelMap = npt.NDArray[np.integer]
Mask = npt.NDArray[np.bool_]


def boundary_of(mask: Mask, width: int) -> Mask:
    """Take the pixels of a mask (H,W) that lie within `width` of what is outside of it, the picture's edge included."""
    kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    inside = cv2.erode(mask.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=(0,))
    boundary: Mask = mask & (inside == 0)
    return boundary


@dataclass
class BoundaryIou:
    """Intersection over union of boundaries, summed over pictures.

    Attributes:
        intersection: int64 (N).
        union: int64 (N).
    """

    intersection: npt.NDArray[np.int64]
    union: npt.NDArray[np.int64]

    @classmethod
    def of(cls, num_classes: int) -> "BoundaryIou":
        """Start with no picture."""
        return cls(np.zeros(num_classes, np.int64), np.zeros(num_classes, np.int64))

    def add(self, truth: LabelMap, predicted: LabelMap, void: int) -> None:
        """Count one picture: labels (H,W); those that are no class are left out."""
        width = max(1, round(BOUNDARY_SHARE * float(np.hypot(*truth.shape))))
        counted = truth != void
        for label in _classes(len(self.union), truth, predicted):
            true, found = (boundary_of(labels == label, width) & counted for labels in (truth, predicted))
            self.intersection[label] += np.count_nonzero(true & found)
            self.union[label] += np.count_nonzero(true | found)

    @property
    def mean(self) -> float:
        """Mean over the classes that have a boundary in truth or prediction; NaN if none has."""
        known = self.union > 0
        return float((self.intersection[known] / self.union[known]).mean()) if known.any() else float("nan")


@dataclass
class SmallComponents:
    """IoU of every small connected component of the truth with what was found of its class where it lies.

    What was found are the connected components of the prediction that touch it, without their pixels on other
    components of the same class in the truth: otherwise a crowd found as one would count as missed.

    Attributes:
        ious: one a component.
    """

    ious: list[float] = field(default_factory=list)

    def add(self, truth: LabelMap, predicted: LabelMap, void: int, num_classes: int) -> None:
        """Count one picture: labels (H,W); those that are no class are left out."""
        largest = SMALL_SHARE * truth.size
        counted = truth != void
        for label in _classes(num_classes, truth):
            num_true, true, boxes, _ = cv2.connectedComponentsWithStats((truth == label).astype(np.uint8))
            sizes = boxes[:, cv2.CC_STAT_AREA]
            small = [number for number in range(1, num_true) if sizes[number] < largest]
            if not small:
                continue
            num_found, found = cv2.connectedComponents(((predicted == label) & counted).astype(np.uint8))
            pairs = np.bincount((true * num_found + found).ravel(), minlength=num_true * num_found)
            pairs = pairs.reshape(num_true, num_found)
            for number in small:
                touching = np.flatnonzero(pairs[number, 1:]) + 1
                both = int(pairs[number, touching].sum())
                self.ious.append(both / (int(sizes[number]) + int(pairs[0, touching].sum())))

    @property
    def mean(self) -> float:
        """Mean over the components; NaN if there are none."""
        return float(np.mean(self.ious)) if self.ious else float("nan")


def _classes(num_classes: int, *maps: LabelMap) -> list[int]:
    present = np.unique(np.concatenate([np.unique(labels) for labels in maps]))
    return [int(label) for label in present if label < num_classes]


__all__ = ["BOUNDARY_SHARE", "SMALL_SHARE", "BoundaryIou", "SmallComponents", "boundary_of"]
