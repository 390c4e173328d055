"""The comparison that vouches for a bundle: PyTorch against ONNX, on sizes and word counts that were not traced."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from runtime.bundle import ParityRecord
from runtime.engine import Engine
from tcl_core import TCL

FloatArray = npt.NDArray[np.float32]


class ParityError(Exception):
    """The exported graph does not do what PyTorch does."""


@dataclass(frozen=True)
class Tolerance:
    """What still counts as the same: largest error of a soft mask, smallest share of equal labels."""

    max_error: float
    label_agreement: float


TOLERANCES = {
    "fp32": Tolerance(max_error=1e-4, label_agreement=0.999),
    "fp16": Tolerance(max_error=2e-2, label_agreement=0.995),
}


def smooth_noise(size: tuple[int, int], batch: int, seed: int) -> FloatArray:
    """Make normalised pictures (batch,3,H,W) with structure at every scale, unlike white noise, which is all edges."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.zeros(batch, 3, *size)
    for side in (3, 8, 24, 64):
        grid = torch.randn(batch, 3, side, side, generator=generator)
        image += torch.nn.functional.interpolate(grid, size, mode="bicubic", align_corners=False)
    array: FloatArray = (image / 2).numpy()
    return array


def compare(model: TCL, engine: Engine, image: FloatArray, text: FloatArray) -> ParityRecord:
    """Run both on the same input and describe the difference of their soft masks."""
    with torch.inference_mode():
        expected = model.masks(torch.from_numpy(image), torch.from_numpy(text)).numpy()
    given = engine.infer({"image": image, "text": text})["masks"]
    if given.shape != expected.shape or not np.isfinite(given).all():
        raise ParityError(f"PyTorch gives masks of shape {expected.shape}, ONNX {given.shape} or numbers not finite")
    error = np.abs(given - expected)
    return ParityRecord(
        size=(image.shape[2], image.shape[3]),
        batch=image.shape[0],
        words=text.shape[0],
        max_error=float(error.max()),
        mean_error=float(error.mean()),
        label_agreement=float((given.argmax(1) == expected.argmax(1)).mean()),
    )


def require(records: Iterable[ParityRecord], tolerance: Tolerance) -> None:
    """Check every record against a tolerance.

    Raises:
        ParityError: naming each comparison that is outside.
    """
    outside = [
        f"{r.size[0]}x{r.size[1]}, batch {r.batch}, {r.words} words: max error {r.max_error:.2g} "
        f"(allowed {tolerance.max_error:g}), label agreement {r.label_agreement:.2%} "
        f"(at least {tolerance.label_agreement:.1%})"
        for r in records
        if r.max_error > tolerance.max_error or r.label_agreement < tolerance.label_agreement
    ]
    if outside:
        raise ParityError("the exported graph differs from PyTorch: " + "; ".join(outside))


def compare_text(model: TCL, engine: Engine, tokens: npt.NDArray[np.int64]) -> float:
    """Return the largest difference between PyTorch and ONNX, relative to the length of an embedding."""
    with torch.inference_mode():
        expected = model.encode_text(torch.from_numpy(tokens)).numpy()
    given = engine.infer({"tokens": tokens})["text"]
    return float((np.abs(given - expected) / np.linalg.norm(expected, axis=1, keepdims=True)).max())
