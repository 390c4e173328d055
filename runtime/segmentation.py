"""The result of segmenting one frame."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from runtime.atomic_file import write_atomically
from runtime.errors import SinkNameError
from runtime.frame import BGR
from runtime.kernels.labels import LabelRule, Paint
from runtime.kernels.upsample import blend, upsample_argmax
from runtime.overlay import Look, draw_legend, draw_outlines
from runtime.regions import Region, find_regions

if TYPE_CHECKING:
    import supervision

ALPHA = Look.alpha
"""Opacity of the colours over the frame, unless told otherwise."""

TOLD = 5
"""Words that the text of a result names, those that cover most."""


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Which word every pixel of a frame shows.

    Attributes:
        mask: class index of every pixel, (H,W) uint8, or uint16 from 257 indices on. Index 0 is the background if
            there is one, otherwise the first word.
        names: the word of each index.
        frame: the frame as BGR (H,W,3) uint8; shared with the caller's array where that was BGR already.
        soft_masks: the network's answer (K,h,w) float32 in [0, 1], synonyms merged. Without background words but
            with a background threshold, K is one less than the number of names.
        threshold: constant soft mask of the background, None if there is none.
        word_thresholds: what each soft mask has to exceed at a pixel to take part there (K,) float32; None unless a
            word has its own threshold.
        colours: BGR colour of each index (K,3) uint8.
        speed: milliseconds spent in `pre`, `infer` (the network, or flow between key frames) and `post`.
        path: the file that the frame comes from, None if there is none.
        index: the frame's number in what it was predicted from, from 0 on.
        time_s: when the frame is shown, in seconds since the first; None for a picture that has no time.
        age_ms: milliseconds from when a live picture came in until it was segmented; None for what does not age.
    """

    mask: npt.NDArray[Any]
    names: tuple[str, ...]
    frame: BGR
    soft_masks: npt.NDArray[np.float32]
    threshold: float | None
    colours: npt.NDArray[np.uint8]
    unpainted: int | None
    speed: Mapping[str, float]
    blended: BGR | None = field(default=None, repr=False)
    blended_alpha: float = ALPHA
    word_thresholds: npt.NDArray[np.float32] | None = field(default=None, repr=False)
    path: Path | None = None
    index: int = 0
    time_s: float | None = None
    age_ms: float | None = None

    def __repr__(self) -> str:
        """Say in a line which frame it is and what covers most of it."""
        shares = {name: share for name, share in self.coverage().items() if share > 0}
        if self.unpainted is not None:
            shares.pop(self.names[self.unpainted], None)
        words = sorted(shares, key=lambda name: -shares[name])
        told = [f"{word} {_percent(shares[word])}" for word in words[:TOLD]] + ["…"] * (len(words) > TOLD)
        name = "frame" if self.path is None else self.path.name
        size = f"{self.mask.shape[1]}x{self.mask.shape[0]}"
        return f"<Segmentation {name} #{self.index} {size}: {', '.join(told) or 'none of the words'}>"

    def _repr_png_(self) -> bytes:
        """Show the painted frame in a notebook."""
        return encoded_picture(Path("frame.png"), self.plot())

    @cached_property
    def counts(self) -> npt.NDArray[np.int64]:
        """Pixels of each index (K,)."""
        # OpenCV counts four times as fast as NumPy, but in float32, which is exact up to 2**24.
        if self.mask.size < 2**24:
            counts = cv2.calcHist([self.mask], [0], None, [len(self.names)], [0, len(self.names)])
            return counts.ravel().astype(np.int64)
        return np.bincount(self.mask.ravel(), minlength=len(self.names))

    @cached_property
    def confidence(self) -> npt.NDArray[np.uint8]:
        """Soft mask of every pixel's winner, (H,W) uint8, 255 for 1.0."""
        size = (self.mask.shape[0], self.mask.shape[1])
        rule = LabelRule(self.threshold, self.word_thresholds)
        confidence = upsample_argmax(self.soft_masks, size, rule, confidence=True).confidence
        assert confidence is not None  # asked for
        return confidence

    def coverage(self) -> dict[str, float]:
        """Share of the frame that each word covers; the shares add up to 1."""
        return {name: float(count) / self.mask.size for name, count in zip(self.names, self.counts, strict=True)}

    def regions(self, *, min_area: int = 1, background: bool = False) -> list[Region]:
        """Find the connected regions of every word, largest first.

        Args:
            min_area: pixels of the smallest region that counts.
            background: also those of the background, if there is one.

        Raises:
            ValueError: a smallest region of less than one pixel.
        """
        skip = None if background else self.unpainted
        return find_regions(self.mask, self.names, self.confidence, skip=skip, min_area=min_area)

    def to_supervision(self, *, min_area: int = 1, background: bool = False) -> "supervision.Detections":
        """Turn the regions into `supervision.Detections`: a detection each, in their order.

        They have `xyxy` (see `Region.box`), `mask` (one (H,W) of bool a region: mind their number), `confidence`,
        `class_id` and `data["class_name"]`.

        Args:
            min_area: as for `regions`.
            background: as for `regions`.

        Raises:
            ImportError: supervision is not installed.
            ValueError: as for `regions`.
        """
        try:
            import supervision
        except ImportError as error:
            raise ImportError("to_supervision needs a library that is not here: `pip install supervision`") from error
        found = self.regions(min_area=min_area, background=background)
        masks = np.zeros((len(found), *self.mask.shape), np.bool_)
        for mask, region in zip(masks, found, strict=True):
            x1, y1, x2, y2 = region.box
            mask[y1:y2, x1:x2] = region.crop
        return supervision.Detections(
            xyxy=np.array([region.box for region in found], np.float32).reshape(-1, 4),
            mask=masks,
            confidence=np.array([region.confidence for region in found], np.float32),
            class_id=np.array([region.class_index for region in found], np.int64),
            data={"class_name": np.array([region.name for region in found], np.str_)},
        )

    def plot(self, *, alpha: float = ALPHA, legend: bool = True, outline: bool = True, out: BGR | None = None) -> BGR:
        """Paint the words over the frame: BGR (H,W,3) uint8. The background stays as it is.

        Args:
            alpha: opacity of the colours, 0 to 1.
            legend: draw which colour is which word, of the words that this frame shows.
            outline: draw a thin line along the borders.
            out: picture of the frame's shape to draw into, contiguous; a new one if None.
        """
        if self.blended is not None and alpha == self.blended_alpha:
            image: BGR = np.empty_like(self.blended) if out is None else out
            np.copyto(image, self.blended)
        else:
            image = blend(self.frame, self.mask, Paint(self.colours, alpha, skip=self.unpainted), out=out)
        if outline:
            draw_outlines(image, self.mask)
        if legend:
            step = 1 + min(self.mask.shape) // 256  # every pixel of a large frame would take longer than the drawing
            sample = self.mask[::step, ::step]
            shares = np.bincount(sample.ravel(), minlength=len(self.names)) / sample.size
            shown = [index for index in range(len(self.names)) if index != self.unpainted]
            draw_legend(image, [self.names[index] for index in shown], self.colours[shown], shares[shown].tolist())
        return image

    def save(self, path: str | Path, *, alpha: float = ALPHA, legend: bool = True, outline: bool = True) -> None:
        """Write `plot` as a picture; the format follows the file name.

        Raises:
            SinkError: the picture cannot be encoded or written.
        """
        path = Path(path)
        if self.path is not None and path.exists() and path.samefile(self.path):
            raise SinkNameError(f"{path} is the source itself: choose another name, the source would be lost")
        write_picture(path, self.plot(alpha=alpha, legend=legend, outline=outline))


def _percent(share: float) -> str:
    return "<1 %" if share < 0.005 else f"{100 * share:.0f} %"


def encoded_picture(path: Path, image: npt.NDArray[Any]) -> bytes:
    """Encode a picture in the format that a file name ends in; PNG if it has no ending.

    Raises:
        SinkNameError: no such format.
    """
    try:
        encoded, data = cv2.imencode(path.suffix or ".png", image)
    except cv2.error:
        encoded = False
    if not encoded:
        raise SinkNameError(f"{path} cannot be written as a picture: end its name in .png or .jpg")
    return data.tobytes()


def write_picture(path: Path, image: npt.NDArray[Any]) -> None:
    """Write a picture, complete or not at all.

    Raises:
        SinkNameError: no such format.
        WriteError: the file cannot be written.
    """
    write_atomically(path, encoded_picture(path, image))
