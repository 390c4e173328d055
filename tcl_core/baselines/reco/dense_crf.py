"""Dense CRF (Krähenbühl, Koltun, NeurIPS 2011) on scores, as ReCo's own figures are given; by `pydensecrf2`."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tcl_core.errors import ConfigError

ITERATIONS = 10
GAUSSIAN = {"sxy": 1, "compat": 3}
BILATERAL = {"sxy": 67, "srgb": 3, "compat": 4}
"""Of ReCo's evaluation: positions in pixels, colours in levels of 8 bits."""


def dense_crf(picture: npt.NDArray[np.uint8], scores: Tensor) -> Tensor:
    """Smooth scores along the colours of a picture.

    Args:
        picture: RGB (H,W,3).
        scores: (K,H,W); their softmax is what the field starts from.

    Returns:
        Probabilities (K,H,W).

    Raises:
        ConfigError: the library is not installed.
        ValueError: sizes differ.
    """
    try:
        from pydensecrf.densecrf import DenseCRF2D
    except ImportError as error:
        raise ConfigError(
            "a CRF needs pydensecrf2, which is not installed: pip install 'tcl-edge[crf]', or leave the CRF out"
        ) from error
    num_classes, height, width = scores.shape
    if picture.shape != (height, width, 3):
        raise ValueError(f"a picture of shape {picture.shape}: expected ({height}, {width}, 3), as the scores")
    field = DenseCRF2D(width, height, num_classes)
    field.setUnaryEnergy(np.ascontiguousarray(-torch.log_softmax(scores.float(), dim=0).flatten(1).cpu().numpy()))
    field.addPairwiseGaussian(**GAUSSIAN)
    field.addPairwiseBilateral(rgbim=np.ascontiguousarray(picture), **BILATERAL)
    return torch.from_numpy(np.array(field.inference(ITERATIONS))).reshape(num_classes, height, width)


__all__ = ["dense_crf"]
