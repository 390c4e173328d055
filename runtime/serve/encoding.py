"""What goes over the network: frames as JPEG, labels as PNG. Runs in a thread beside the stream."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from runtime.frame import BGR
from runtime.kernels.arguments import Labels
from runtime.overlay import Look, draw_panel
from runtime.segmentation import encoded_picture
from runtime.serve.channel import Shot
from runtime.sinks.masks import encoded_mask
from runtime.stream.status import Status

JPEG_QUALITY = 80
LONGEST_FRAME_PX, LONGEST_LABELS_PX = 1920, 512
"""Longer side of what viewers get: of a larger frame, squares of pixels are averaged, of larger labels each pixel takes
the nearest."""

FASTEST_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # OpenCV 4.12: a quarter of the time, and labels are smaller without
    FASTEST_PNG += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]


@dataclass(frozen=True, eq=False)
class Packet:
    """A frame for viewers that paint themselves.

    Attributes:
        shot: what was encoded.
        jpeg: the frame, unpainted.
        labels: PNG of class indices.
        coverage: share of the frame of each index.
    """

    shot: Shot
    jpeg: bytes
    labels: bytes
    coverage: list[float]


def packet(shot: Shot) -> Packet:
    """Encode a frame and its labels apart."""
    result = shot.result
    coverage = [round(float(share), 4) for share in result.counts / result.mask.size]
    return Packet(shot, _jpeg(result.frame), encoded_labels(result.mask), coverage)


def encoded_labels(mask: Labels) -> bytes:
    """Encode class indices as the PNG of a compact size.

    A side that is longer than 512 pixels becomes 512, the other in proportion; the pixel (y, x) of a PNG of (h, w) is
    the index at (floor((y + 0.5) H / h), floor((x + 0.5) W / w)) of the mask (H, W).

    Args:
        mask: (H,W) uint8, or uint16 where there are more than 256 indices.

    Returns:
        Grey, whose values are the indices; from uint16, RGB: index = red + 256 green. Browsers read both exactly, 16
        bits of grey they do not.
    """
    height, width = mask.shape
    share = min(1, LONGEST_LABELS_PX / max(height, width))
    small: npt.NDArray[Any] = mask
    if share < 1:  # by integers: OpenCV's own rule is off by a pixel here and there
        small = mask[_nearest(height, max(round(height * share), 1))][:, _nearest(width, max(round(width * share), 1))]
    if small.dtype != np.uint8:
        low, high = (small & 255).astype(np.uint8), (small >> 8).astype(np.uint8)
        small = np.stack([np.zeros_like(low), high, low], axis=-1)  # OpenCV writes BGR as RGB
    return cv2.imencode(".png", small, FASTEST_PNG)[1].tobytes()


def _nearest(length: int, count: int) -> npt.NDArray[np.int64]:
    return (2 * np.arange(count) + 1) * length // (2 * count)


def painted(shot: Shot, look: Look, status: Status) -> BGR:
    """Paint a frame; grey, with a line that says why, where it is not what the camera sees now."""
    picture = shot.result.plot(alpha=look.alpha, legend=look.legend, outline=look.outline)
    if line := note(status):
        grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
        picture = np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), np.uint8)
        draw_panel(picture, [line], above=True)
    return picture


def note(status: Status) -> str:
    """Say in words that a stream stands still, for how long, and why; empty while it is live."""
    if status.state == "live":
        return ""
    since = "" if status.age_ms is None else f", last frame {status.age_ms / 1000:.0f} s ago"
    return f"{status.state}{since}" if status.state != "ended" else "ended"


def painted_jpeg(shot: Shot, look: Look, status: Status) -> bytes:
    """Encode the painted frame."""
    return _jpeg(painted(shot, look, status))


def snapshot(shot: Shot, look: Look, status: Status) -> bytes:
    """Encode the painted frame as a PNG of the frame's size."""
    return encoded_picture(Path("snapshot.png"), painted(shot, look, status))


def masks(shot: Shot) -> bytes:
    """Encode the class indices as the sink `masks/` does: with a palette, or 16 bits of grey beyond 256 indices."""
    return encoded_mask(shot.result.mask, shot.result.colours)


def _jpeg(image: npt.NDArray[np.uint8]) -> bytes:
    height, width = image.shape[:2]
    side = -(-max(height, width) // LONGEST_FRAME_PX)
    if side > 1:  # whole numbers only: others take longer than the encoding of the whole frame
        size_wh = (max(width // side, 1), max(height // side, 1))
        image = np.asarray(cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA), np.uint8)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
