"""From any picture array to a BGR frame, and from a BGR frame to the graph's input."""

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from runtime.bundle import InputSpec
from runtime.errors import EngineOptionError, FrameError
from runtime.kernels.antialias import resize_normalize

BGR = npt.NDArray[np.uint8]
"""(H,W,3) uint8, channels blue, green, red, values 0 to 255: OpenCV's convention."""

LONGEST_SIDE = 32_767
"""Pixels. The limit of OpenCV's resize."""


def as_bgr(frame: npt.NDArray[Any]) -> BGR:
    """Turn a picture into BGR uint8 (H,W,3).

    Accepts grey (H,W) or (H,W,1), BGR (H,W,3) and BGRA (H,W,4, the alpha is dropped), as uint8, or as uint16 whose
    full range is used. Strided and read-only arrays are welcome; an array that is BGR already is returned as it is.

    Raises:
        FrameError: any other shape or dtype, an empty picture, or a side over 32,767 pixels.
    """
    if not isinstance(frame, np.ndarray):
        raise FrameError(f"a frame is a NumPy array, not {type(frame).__name__}")
    channels = 1 if frame.ndim == 2 else frame.shape[2] if frame.ndim == 3 else 0
    if channels not in (1, 3, 4) or frame.dtype not in (np.uint8, np.uint16):
        raise FrameError(
            f"frame of shape {frame.shape} and dtype {frame.dtype} given, expected (H,W), (H,W,1), (H,W,3) BGR or "
            "(H,W,4) BGRA, uint8 or uint16"
        )
    if 0 in frame.shape or max(frame.shape[:2]) > LONGEST_SIDE:
        raise FrameError(
            f"frame of {frame.shape[1]} x {frame.shape[0]} pixels given, expected 1 to {LONGEST_SIDE} a side"
        )
    if frame.dtype == np.uint16:
        frame = (frame >> 8).astype(np.uint8)
    if channels == 1:
        return np.ascontiguousarray(np.broadcast_to(frame.reshape(*frame.shape[:2], 1), (*frame.shape[:2], 3)))
    return frame[..., :3]


def input_size(frame_size: tuple[int, int], spec: InputSpec) -> tuple[int, int]:
    """Choose the graph's input (height, width) for a frame of (height, width).

    A fixed size is what it is; otherwise see `free_size`.
    """
    if isinstance(spec.size, tuple):
        return spec.size
    return free_size(frame_size, spec.size, spec.multiple_of)


def free_size(frame_size: tuple[int, int], side: int, step: int) -> tuple[int, int]:
    """Choose (height, width) for a frame of (height, width) where the graph takes any multiples of `step`.

    The input keeps the frame's shape as nearly as multiples allow and has about `side * side` pixels, so that the
    latency does not depend on the shape; at least one multiple a side.
    """
    height, width = frame_size
    tallness = min(max(math.sqrt(height / width), step / side), side / step)
    return max(round(side * tallness / step), 1) * step, max(round(side / tallness / step), 1) * step


def resized(spec: InputSpec, size: int | None) -> InputSpec:
    """Change the size of a bundle's input, None for none.

    Raises:
        EngineOptionError: the bundle has a fixed size, or the size is out of range.
    """
    if size is None:
        return spec
    if isinstance(spec.size, tuple):
        height, width = spec.size
        raise EngineOptionError(f"this bundle was exported for {height} x {width} pixels only: leave the size out")
    if not spec.multiple_of <= size <= 4096:
        raise EngineOptionError(f"network size {size} given, expected {spec.multiple_of} to 4096 pixels")
    return spec.model_copy(update={"size": size})


_INTERPOLATION = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}


class Preprocessor:
    """Resize, normalise and lay out a frame as the manifest says; keeps nothing from one to the next.

    Args:
        spec: the manifest's input.
        threads: of one frame, where it is large enough for them.
    """

    def __init__(self, spec: InputSpec, *, threads: int = 1) -> None:
        mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)
        self._spec, self._threads = spec, threads
        self._scale = 1 / (255 * std)
        self._shift = -mean / std

    def __call__(self, frame: BGR) -> npt.NDArray[np.float32]:
        """Turn a BGR frame (H,W,3) into the image input (1,3,h,w) float32, which belongs to the caller."""
        spec = self._spec
        height, width = input_size((frame.shape[0], frame.shape[1]), spec)
        image = np.empty((1, 3, height, width), np.float32)
        if spec.antialias:
            return resize_normalize(
                frame,
                (height, width),
                mean=spec.mean,
                std=spec.std,
                interpolation=spec.interpolation,
                threads=self._threads,
                out=image,
            )
        small = cv2.resize(frame, (width, height), interpolation=_INTERPOLATION[spec.interpolation])
        for channel in range(3):
            np.multiply(small[..., 2 - channel], self._scale[channel], out=image[0, channel])
            image[0, channel] += self._shift[channel]
        return image
