"""Types of the C++ extension; `runtime.upsample` is its documented front."""

from typing import TypeVar

import numpy as np
import numpy.typing as npt

_Label = TypeVar("_Label", np.uint8, np.uint16)

def upsample(
    masks: npt.NDArray[np.float32],
    labels: npt.NDArray[_Label],
    *,
    background: float | None = None,
    confidence: npt.NDArray[np.uint8] | None = None,
    frame: npt.NDArray[np.uint8] | None = None,
    colors: npt.NDArray[np.uint8] | None = None,
    blended: npt.NDArray[np.uint8] | None = None,
    alpha_256: int = 0,
    skip: int = -1,
) -> None: ...
def blend(
    frame: npt.NDArray[np.uint8],
    labels: npt.NDArray[_Label],
    colors: npt.NDArray[np.uint8],
    blended: npt.NDArray[np.uint8],
    *,
    alpha_256: int,
    skip: int = -1,
) -> None: ...
