"""What people look at: colours, blended masks, and a legend that says which colour is which word."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from runtime.frame import BGR

INK, PAPER = (255, 255, 255), (24, 24, 24)


def palette(count: int, *, background: bool = False) -> npt.NDArray[np.uint8]:
    """Give BGR colours that are told apart easily; beyond 256 they repeat.

    Args:
        count: how many classes there are, each with the same colour whether there is a background or not.
        background: put the grey of the background before them, for what shows it.

    Returns:
        (count,3), or with a background (count+1,3).
    """
    from colorcet import (
        glasbey_bw_minc_20_minl_30,
    )  # a table of a thousand palettes: only where one is needed

    rgb = np.array(glasbey_bw_minc_20_minl_30, np.float64)
    colours: npt.NDArray[np.uint8] = np.rint(rgb[np.arange(count) % len(rgb), ::-1] * 255).astype(np.uint8)
    return np.concatenate([np.full((1, 3), 128, np.uint8), colours]) if background else colours


def draw_legend(image: BGR, names: Sequence[str], colours: npt.NDArray[np.uint8]) -> None:
    """Draw swatches and words into the top left corner of `image`, in place; what does not fit is counted."""
    height, width = image.shape[:2]
    text_px = max(11, round(min(height, width) / 26))
    line, pad = round(text_px * 1.5), round(text_px * 0.5)
    rows = max(min(len(names), (height - 2 * pad) // line), 0)
    if rows == 0 or width < 6 * text_px:
        return
    shown = list(names[:rows])
    if rows < len(names):
        shown[-1] = f"and {len(names) - rows + 1} more"
    text = _Text(text_px)
    box_width = min(width, 3 * pad + text_px + max(text.width(name) for name in shown))
    box = image[: 2 * pad + rows * line, :box_width]
    cv2.addWeighted(box, 0.25, np.full_like(box, PAPER), 0.75, 0, dst=box)
    for row, name in enumerate(shown):
        top = pad + row * line
        if row < rows - 1 or rows == len(names):
            corner = (pad + text_px, top + text_px)
            cv2.rectangle(image, (pad, top), corner, tuple(map(int, colours[row])), cv2.FILLED)
        text.put(box, name, (2 * pad + text_px, top + text_px))


class _Text:
    """OpenCV 5 draws any script with its own fonts; older ones draw ASCII and show the rest as '?'."""

    def __init__(self, height_px: int) -> None:
        self._height_px = height_px
        self._face: Any = cv2.FontFace("sans") if hasattr(cv2, "FontFace") else None
        self._scale = cv2.getFontScaleFromHeight(cv2.FONT_HERSHEY_SIMPLEX, round(height_px * 0.7))

    def width(self, text: str) -> int:
        if self._face is not None:
            return int(cv2.getTextSize((1, 1), text, (0, 0), self._face, self._height_px)[2])
        return int(cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, self._scale, 1)[0][0])

    def put(self, image: BGR, text: str, origin_xy: tuple[int, int]) -> None:
        if self._face is not None:
            cv2.putText(image, text, origin_xy, INK, self._face, self._height_px)
        else:
            font = cv2.FONT_HERSHEY_SIMPLEX
            cv2.putText(image, text, origin_xy, font, self._scale, INK, 1, cv2.LINE_AA)
