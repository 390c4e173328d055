"""The comparison that vouches for a bundle: PyTorch against ONNX, on real pictures, on shapes that were not traced."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from export.errors import ParityError
from export.graph import SegmenterGraph
from runtime.bundle import ParityRecord
from runtime.engines.base import Engine

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Tolerance:
    """What still counts as the same: largest error of a soft mask, smallest share of equal labels."""

    max_error: float
    label_agreement: float


TOLERANCES = {
    "fp32": Tolerance(max_error=1e-4, label_agreement=0.999),
    "fp16 weights": Tolerance(max_error=2e-2, label_agreement=0.995),
    "fp16": Tolerance(max_error=2e-2, label_agreement=0.995),
    "int8": Tolerance(max_error=1.0, label_agreement=0.95),
}


@dataclass(frozen=True, eq=False)
class Case:
    """One comparison.

    Attributes:
        image: (B,3,H,W) normalised.
        text: unit rows (N,C).
        expected: PyTorch's masks (B,N,h,w).
        num_labels: of the rows, from the first, among which labels are compared. The others are directions that no word
            has: their masks are nearly equal everywhere, so that which of them is largest says nothing.
    """

    image: FloatArray
    text: FloatArray
    expected: FloatArray
    num_labels: int


def cases(
    reference: SegmenterGraph, images: Sequence[tuple[FloatArray, Sequence[int]]], text: FloatArray, num_words: int
) -> tuple[Case, ...]:
    """Run PyTorch once for each image array with all words; a word's mask does not depend on the others.

    Args:
        reference: what was trained, before any rewriting.
        images: arrays (B,3,H,W), each with the numbers of words it is compared on.
        text: unit rows, as many as the largest of these numbers at least.
        num_words: rows from the first that are words; labels are compared among them if there are two or more.
    """
    device = next(reference.parameters()).device
    made = []
    for image, counts in images:
        rows = torch.from_numpy(text[: max(counts)]).to(device)
        with torch.inference_mode():
            masks = reference(torch.from_numpy(image).to(device), rows).cpu().numpy()
        for count in counts:
            labels = min(count, num_words) if num_words > 1 else count
            made.append(Case(image, np.ascontiguousarray(text[:count]), masks[:, :count], labels))
    return tuple(made)


def compare(case: Case, engine: Engine) -> ParityRecord:
    """Run the engine on a case and describe the difference of the soft masks; NaN where they are not finite.

    Raises:
        ParityError: the masks have another shape.
    """
    given = engine.infer({"image": case.image, "text": case.text})["masks"]
    if given.shape != case.expected.shape:
        raise ParityError(f"PyTorch gives masks of shape {case.expected.shape} and ONNX {given.shape}")
    error = np.abs(given - case.expected)
    labels, expected_labels = (masks[:, : case.num_labels].argmax(1) for masks in (given, case.expected))
    return ParityRecord(
        size=(case.image.shape[2], case.image.shape[3]),
        batch=case.image.shape[0],
        words=case.text.shape[0],
        max_error=float(error.max()),
        mean_error=float(error.mean()),
        label_agreement=float((labels == expected_labels).mean()),
        cosine=_cosine(given, case.expected),
    )


def _cosine(a: FloatArray, b: FloatArray) -> float:
    flat_a, flat_b = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    return float(flat_a @ flat_b / max(np.linalg.norm(flat_a) * np.linalg.norm(flat_b), 1e-30))


def failures(records: Sequence[ParityRecord], tolerance: Tolerance) -> str:
    """Describe what is outside a tolerance; empty if nothing is. A number that is not finite always is.

    Labels are judged over all comparisons together: a small map has too few cells for a share of 99.5 %.
    """
    problems = [problem for record in records if (problem := _failure(record, tolerance))]
    agreement = label_agreement(records)
    if not agreement >= tolerance.label_agreement:
        problems.append(f"label agreement {agreement:.2%} (at least {tolerance.label_agreement:.1%})")
    return "; ".join(problems)


def _failure(record: ParityRecord, tolerance: Tolerance) -> str:
    finite = is_finite(record)
    if finite and record.max_error <= tolerance.max_error:
        return ""
    problem = (
        f"{record.size[0]}x{record.size[1]}, batch {record.batch}, {record.words} words: max error "
        f"{record.max_error:.2g} (allowed {tolerance.max_error:g})"
    )
    if finite:
        return problem
    return (
        f"{problem}, mean error {record.mean_error:.2g}, label agreement {record.label_agreement:.2%}, cosine "
        f"{record.cosine}: expected finite numbers"
    )


def is_finite(record: ParityRecord) -> bool:
    """Tell whether all that was measured is a number that means something."""
    cosine = () if record.cosine is None else (record.cosine,)
    return all(map(math.isfinite, (record.max_error, record.mean_error, record.label_agreement, *cosine)))


def label_agreement(records: Sequence[ParityRecord]) -> float:
    """Share of cells with the same best word, over all comparisons of several words; 1 if there is none."""
    weights = [r.batch * r.size[0] * r.size[1] for r in records if r.words > 1]
    shares = [r.label_agreement for r in records if r.words > 1]
    return float(np.average(shares, weights=weights)) if shares else 1.0


def rare_words(count: int, channels: int) -> FloatArray:
    """Draw unit rows (count, channels), equally likely in every direction: words unlike any that a tower knows."""
    rows = np.random.default_rng(0).standard_normal((count, channels), np.float32)
    unit: FloatArray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit
