"""Types of the C++ extension; `runtime.kernels.upsample` is its documented front."""

from typing import Literal

import numpy as np
import numpy.typing as npt

_Labels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

def upsample(
    masks: npt.NDArray[np.float32] | npt.NDArray[np.float16],
    labels: _Labels,
    *,
    background: float | None = None,
    confidence: npt.NDArray[np.uint8] | None = None,
    frame: npt.NDArray[np.uint8] | None = None,
    colours: npt.NDArray[np.uint8] | None = None,
    blended: npt.NDArray[np.uint8] | None = None,
    alpha_256: int = 0,
    skip: int | None = None,
    threads: int = 1,
    path: Literal["fastest", "reference", "dense", "baseline"] = "fastest",
    guide: npt.NDArray[np.uint8] | None = None,
    brightness: npt.NDArray[np.uint8] | None = None,
    likeness: npt.NDArray[np.float32] | None = None,
    thresholds: npt.NDArray[np.float32] | None = None,
) -> None: ...
def blend(
    frame: npt.NDArray[np.uint8],
    labels: _Labels,
    colours: npt.NDArray[np.uint8],
    blended: npt.NDArray[np.uint8],
    *,
    alpha_256: int,
    skip: int | None = None,
) -> None: ...
def pamr(
    masks: npt.NDArray[np.float32],
    image: npt.NDArray[np.float32],
    *,
    dilations: list[int],
    iterations: int,
    threads: int = 1,
) -> npt.NDArray[np.float32]: ...
def resize_normalize(
    frame: npt.NDArray[np.uint8],
    planes: npt.NDArray[np.float32],
    *,
    bicubic: bool,
    reverse_channels: bool,
    scale: list[float],
    shift: list[float],
    threads: int = 1,
) -> None: ...
