"""What people look at: outlines of the regions, and a legend that says which colour is which word."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from runtime.frame import BGR
from runtime.kernels.arguments import Labels

INK, PAPER = (255, 255, 255), (24, 24, 24)

LEGEND_SHARE = 1 / 8
"""Of the frame's area: the most that a legend covers."""
LEGEND_WIDTHS = (0.45, 0.3)
"""Of the frame's width: the most that a legend takes, and where that is too large; words are shortened to it."""
VISIBLE_SHARE = 1 / 1000
"""Of the frame's area: words that cover less are not in the legend, or it would flicker with every speck."""

SHADE: Any = (60, 60, 60, 0)  # OpenCV's own types leave out that one colour may stand for a picture
LIGHT: Any = (140, 140, 140, 0)
"""Levels that an outline takes from each side of a border, and adds on the border itself."""
OUTLINED_PX = 200
"""Shorter side of a frame from which on there is room for the shade beside a line."""


@dataclass(frozen=True)
class Look:
    """How a result is painted.

    Attributes:
        alpha: opacity of the colours, 0 to 1.
        legend: draw which colour is which word.
        outline: draw a thin line along the borders.
    """

    alpha: float = 0.5
    legend: bool = True
    outline: bool = True


def draw_outlines(image: BGR, labels: Labels) -> None:
    """Draw a light line with shaded sides along every border between labels, in place.

    Light and dark together are seen on any ground, so that a red word on a red car is. The line is a pixel wide at VGA
    size, and grows with the frame.

    Args:
        image: (H,W,3), contiguous.
        labels: (H,W) uint8 or uint16.
    """
    shorter = min(labels.shape)
    width = max(1, round(shorter / 480))
    # Where the largest and the smallest label of a small square differ, there is a border.
    if shorter >= OUTLINED_PX:
        cv2.subtract(image, SHADE, dst=image, mask=_differ(labels, width + 2))
    cv2.add(image, LIGHT, dst=image, mask=_differ(labels, width))


def _differ(labels: Labels, width: int) -> npt.NDArray[np.uint8]:
    """Find the pixels of a band of that width along the borders; nonzero, (H,W) uint8."""
    square = np.ones((width + 1, width + 1), np.uint8)
    spread: npt.NDArray[Any] = cv2.morphologyEx(labels, cv2.MORPH_GRADIENT, square)
    return spread if spread.dtype == np.uint8 else (spread != 0).view(np.uint8)


def draw_legend(image: BGR, names: Sequence[str], colours: npt.NDArray[np.uint8], shares: Sequence[float]) -> None:
    """Draw swatches and words into the top left corner of `image`, in place.

    The words that cover the most are shown, in the order in which they are given, so that they keep their places from
    frame to frame; those that do not fit into an eighth of the frame are counted. A frame too small for a word has no
    legend.

    Args:
        image: (H,W,3).
        names: the words.
        colours: of each word (N,3).
        shares: of the frame, what each word covers.
    """
    height, width = image.shape[:2]
    text = _Text.of(image)
    text_px, pad, line = text.height_px, text.pad_px, text.line_px
    largest = sorted(range(len(names)), key=lambda index: -shares[index])
    visible = [index for index in largest if shares[index] > VISIBLE_SHARE]

    def listed(count: int, share: float) -> tuple[list[int], list[str]]:
        shown, hidden = sorted(visible[:count]), len(visible) - count
        room = int(share * width) - 3 * pad - text_px
        return shown, [text.shortened(names[index], room) for index in shown] + [f"+ {hidden} more"] * (hidden > 0)

    most = min(len(visible), height // line)
    wide, narrow = LEGEND_WIDTHS
    for count, share in [(most, wide), *((count, narrow) for count in range(most, 0, -1))] if most else []:
        shown, lines = listed(count, share)
        box_width, box_height = 3 * pad + text_px + max(map(text.width, lines)), pad + line * len(lines)
        fits = box_width <= width and box_height <= height and box_width * box_height <= LEGEND_SHARE * width * height
        if fits and all(lines):
            break
    else:
        return
    box = _paper(image[:box_height, :box_width])
    for row, entry in enumerate(lines):
        top = pad + row * line
        if row < len(shown):
            corner = (pad + text_px - 1, top + text_px - 1)
            cv2.rectangle(box, (pad, top), corner, tuple(map(int, colours[shown[row]])), cv2.FILLED)
        text.put(box, entry, (2 * pad + text_px, top + round(0.85 * text_px)))


def draw_panel(image: BGR, lines: Sequence[str], *, above: bool) -> None:
    """Write lines into `image`, in place: into the middle where `above` all else, otherwise into the lower left corner.

    What does not fit is shortened or cut off.
    """
    text = _Text.of(image)
    shown = [text.shortened(line, image.shape[1] - 2 * text.pad_px) for line in lines]
    width = min(2 * text.pad_px + max(map(text.width, shown)), image.shape[1])
    height = min(text.pad_px + text.line_px * len(shown), image.shape[0])
    left = (image.shape[1] - width) // 2 if above else 0
    top = (image.shape[0] - height) // 2 if above else image.shape[0] - height
    box = _paper(image[top : top + height, left : left + width])
    for row, line in enumerate(shown):
        text.put(box, line, (text.pad_px, text.pad_px + row * text.line_px + round(0.85 * text.height_px)))


def _paper(box: BGR) -> BGR:
    """Darken a part of a picture, in place, so that writing on it can be read."""
    cv2.addWeighted(box, 0.25, np.full_like(box, PAPER), 0.75, 0, dst=box)
    return box


class _Text:
    """OpenCV 5 draws any script with its own fonts; older ones draw ASCII and show the rest as '?'."""

    def __init__(self, height_px: int) -> None:
        self.height_px, self.pad_px, self.line_px = height_px, round(height_px * 0.5), round(height_px * 1.5)
        self._face: Any = cv2.FontFace("sans") if hasattr(cv2, "FontFace") else None
        self._widths: dict[str, int] = {}
        self._scale = cv2.getFontScaleFromHeight(cv2.FONT_HERSHEY_SIMPLEX, round(height_px * 0.7))

    @classmethod
    def of(cls, image: BGR) -> "_Text":
        """Text of a size that fits a picture, and is readable in the smallest."""
        return cls(max(10, round(min(image.shape[:2]) / 30)))

    def width(self, text: str) -> int:
        if text not in self._widths:
            if self._face is not None:
                self._widths[text] = int(cv2.getTextSize((1, 1), text, (0, 0), self._face, self.height_px)[2])
            else:
                self._widths[text] = int(cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, self._scale, 1)[0][0])
        return self._widths[text]

    def shortened(self, text: str, most_px: int) -> str:
        """Cut a text that is wider, and end it in an ellipsis; empty if not even three letters have room."""
        if self.width(text) <= most_px:
            return text
        ellipsis = "..." if self._face is None else "…"
        for end in range(len(text) - 1, 2, -1):
            shorter = text[:end].rstrip() + ellipsis
            if self.width(shorter) <= most_px:
                return shorter
        return ""

    def put(self, image: BGR, text: str, origin_xy: tuple[int, int]) -> None:
        if self._face is not None:
            cv2.putText(image, text, origin_xy, INK, self._face, self.height_px)
        else:
            font = cv2.FONT_HERSHEY_SIMPLEX
            cv2.putText(image, text, origin_xy, font, self._scale, INK, 1, cv2.LINE_AA)
