"""Weights in few bits, rounded for their effect on real inputs.

GPTQ (Frantar et al., 2023, section 3): one input after the other is rounded, and the weights of those that follow take
up the error, as far as their values go together in the pictures at hand. What is left on average goes into the bias.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from export.products import Matrices

STEPS = 63
"""Steps from zero to the largest weight of an output.

Not 127: processors without dot-product instructions add products of two neighbours in 16 bits, where 255 * 127 twice
does not fit. ONNX Runtime does so without a word.
"""

DAMPING = 0.01
"""Share of the mean square that is added to all squares, so that inputs that never vary do no harm."""

BLOCK = 128
"""Inputs whose errors are handed on at once."""


class Moments:
    """Sums over the columns (G,K,P) that a product sees."""

    def __init__(self) -> None:
        self._count = 0
        self._second: Matrices | float = 0.0
        self._first: Matrices | float = 0.0

    def add(self, columns: Matrices) -> None:
        """Take columns in."""
        self._count += columns.shape[2]
        self._second = self._second + columns @ columns.transpose(0, 2, 1)
        self._first = self._first + columns.sum(2)

    @property
    def second(self) -> Matrices:
        """Mean product of every two inputs, (G,K,K)."""
        return np.asarray(self._second / self._count)

    @property
    def mean(self) -> Matrices:
        """Mean of every input, (G,K)."""
        return np.asarray(self._first / self._count)


@dataclass(frozen=True, eq=False)
class Rounded:
    """A weight in int8.

    Attributes:
        integers: (G,O,K), from -`STEPS` to `STEPS`.
        scales: (G,O), positive.
        shift: (G,O), what the bias gains, so that the mean of every output stays.
    """

    integers: npt.NDArray[np.int8]
    scales: Matrices
    shift: Matrices


def rounded(matrices: Matrices, moments: Moments) -> Rounded:
    """Round matrices (G,O,K) to `STEPS` steps in either direction, a scale for each output."""
    scales = np.maximum(np.abs(matrices).max(2), 1e-9) / STEPS
    upper, size = _upper_factor(moments.second), matrices.shape[2]
    left, integers = matrices.copy(), np.zeros_like(matrices)
    for begin in range(0, size, BLOCK):
        end = min(begin + BLOCK, size)
        errors = np.zeros((*matrices.shape[:2], end - begin))
        for k in range(begin, end):
            integers[..., k] = np.clip(np.round(left[..., k] / scales), -STEPS, STEPS)
            error = (left[..., k] - integers[..., k] * scales) / upper[:, k, k, None]
            left[..., k:end] -= error[..., None] * upper[:, None, k, k:end]
            errors[..., k - begin] = error
        left[..., end:] -= errors @ upper[:, begin:end, end:]
    shift = ((matrices - integers * scales[..., None]) @ moments.mean[..., None])[..., 0]
    return Rounded(integers.astype(np.int8), scales, shift)


def _upper_factor(second: Matrices) -> Matrices:
    """Factor the inverse of matrices (G,K,K) as U^T U."""
    damped, diagonal = second.copy(), np.arange(second.shape[1])
    squares = second[:, diagonal, diagonal].mean(1, keepdims=True)
    damped[:, diagonal, diagonal] += np.maximum(DAMPING * squares, 1e-9)
    upper: Matrices = np.linalg.cholesky(np.linalg.inv(damped)).transpose(0, 2, 1)
    return upper


__all__ = ["STEPS", "Moments", "Rounded", "rounded"]
