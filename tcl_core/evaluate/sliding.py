"""From a picture to scores of its own size: resized as the reference does, window by window, averaged, resized back."""

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tcl_core.encoder import Preprocess
from tcl_core.errors import ConfigError
from tcl_core.evaluate.protocol import STATISTICS, Protocol
from tcl_core.pictures import resized_tensor
from tcl_core.segment import resize
from tcl_core.segment import slide as slide_windows

WindowLogits = Callable[[Tensor], Tensor]
"""Windows (B,3,h,w), normalised -> scores (B,K,h',w') of any size, spread over the whole window."""


def network_size(size: tuple[int, int], short_side: int, long_side: int) -> tuple[int, int]:
    """Resize (height, width) to a short side, unless the long one would become too long; rounded as OpenMMLab does."""
    scale = min(long_side / max(size), short_side / min(size))
    return max(int(size[0] * scale + 0.5), 1), max(int(size[1] * scale + 0.5), 1)


def prepared(picture: Image.Image, protocol: Protocol, preprocess: Preprocess | None = None) -> Tensor:
    """Resize and normalise a picture.

    Args:
        picture: RGB.
        protocol: with sizing by the short side.
        preprocess: of the model, for what the protocol leaves to it.

    Returns:
        Float32 (1,3,H,W).

    Raises:
        ConfigError: the protocol leaves a setting to the model, and there is none.
    """
    if protocol.sizing != "short side":
        raise ConfigError(f"sizing by {protocol.sizing}: expected by the short side, for windows along the picture")
    short_side = protocol.short_side or _own(preprocess, "short_side").size
    height, width = network_size((picture.height, picture.width), short_side, protocol.long_side)
    if protocol.interpolation == "model":
        own = _own(preprocess, "interpolation")
        if protocol.statistics != "model":
            (r, g, b), (r_std, g_std, b_std) = STATISTICS[protocol.statistics]
            mean, std = (r / 255, g / 255, b / 255), (r_std / 255, g_std / 255, b_std / 255)
            own = replace(own, mean=mean, std=std)
        return resized_tensor(picture, own, (height, width))
    if protocol.statistics == "model":
        own = _own(preprocess, "statistics")
        statistics = 255 * np.array([own.mean, own.std])
    else:
        statistics = np.array(STATISTICS[protocol.statistics])
    pixels = cv2.resize(np.asarray(picture), (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    pixels = (pixels - statistics[0].astype(np.float32)) * (1 / statistics[1]).astype(np.float32)
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None]


def slide(
    picture: Image.Image,
    window_logits: WindowLogits,
    protocol: Protocol,
    *,
    preprocess: Preprocess | None = None,
    batch: int = 1,
) -> Tensor:
    """Score a picture window by window, or at once: averaged where windows overlap, at the size of the picture.

    Args:
        picture: RGB.
        window_logits: the network; what it gives is resized to the window.
        protocol: how large the picture and the windows are.
        preprocess: of the model, for what the protocol leaves to it.
        batch: windows at once; only speed and memory depend on it.

    Returns:
        Scores (K,H,W), no softmax applied.

    Raises:
        ConfigError: see `prepared`.
    """
    images = prepared(picture, protocol, preprocess)
    size = (picture.height, picture.width)
    if protocol.window is None and not protocol.through_input:
        return resize(window_logits(images), size)[0]

    def at_window_size(windows: Tensor) -> Tensor:
        logits = window_logits(windows)
        return logits if logits.shape[-2:] == windows.shape[-2:] else resize(logits, windows.shape[-2:])

    if protocol.window is None:
        return resize(at_window_size(images), size)[0]
    averaged = slide_windows(at_window_size, images, window=protocol.window, stride=protocol.stride, batch=batch)
    return resize(averaged, size)[0]


def _own(preprocess: Preprocess | None, setting: str) -> Preprocess:
    if preprocess is None:
        raise ConfigError(f"the protocol leaves {setting} to the model: expected a value, {setting}=...")
    return preprocess


__all__ = ["WindowLogits", "network_size", "prepared", "slide"]
