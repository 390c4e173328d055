"""What counts as the same masks. Oracles: differences by hand, and one number at a time that means nothing."""

import math
import re

import numpy as np
import pytest
import torch

from export.errors import ParityError
from export.parity import (
    TOLERANCES,
    Case,
    Tolerance,
    cases,
    compare,
    failures,
    is_finite,
    label_agreement,
    rare_words,
)
from runtime.bundle import ParityRecord

RECORD = ParityRecord(
    size=(56, 104), batch=2, words=3, max_error=5e-5, mean_error=1e-6, label_agreement=0.9995, cosine=0.999999
)


def changed(**measures: float | None) -> ParityRecord:
    return RECORD.model_copy(update=measures)


class Constant:
    """An engine that gives the same masks to everything."""

    def __init__(self, masks: np.ndarray) -> None:
        self.masks = masks

    def infer(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"masks": self.masks}

    def close(self) -> None: ...


def test_what_is_within_a_tolerance_is_no_failure() -> None:
    tolerance = TOLERANCES["fp32"]
    assert failures([RECORD, changed(cosine=None)], tolerance) == ""
    assert failures([changed(max_error=tolerance.max_error, label_agreement=0.999)], tolerance) == ""


def test_what_a_bundle_promises_changes_on_purpose_only() -> None:
    """By hand: largest error of a mask, which lies in [0, 1], and least share of equal labels."""
    assert {name: (t.max_error, t.label_agreement) for name, t in TOLERANCES.items()} == {
        "fp32": (0.0001, 0.999),
        "fp16 weights": (0.02, 0.995),
        "fp16": (0.02, 0.995),
        "int8": (1.0, 0.95),
    }


def test_what_is_outside_is_named() -> None:
    told = failures([RECORD, changed(max_error=0.25)], TOLERANCES["fp32"])
    assert told == "56x104, batch 2, 3 words: max error 0.25 (allowed 0.0001)"
    told = failures([changed(label_agreement=0.99), RECORD], TOLERANCES["fp32"])
    assert told == "label agreement 99.48% (at least 99.9%)"  # of both together


@pytest.mark.parametrize("measure", ["max_error", "mean_error", "label_agreement", "cosine"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_a_failure_whatever_is_tolerated(measure: str, value: float) -> None:
    record = changed(**{measure: value})
    assert not is_finite(record)
    told = failures([RECORD, record], Tolerance(max_error=math.inf, label_agreement=-math.inf))
    assert told.startswith("56x104, batch 2, 3 words: max error ")
    assert "expected finite numbers" in told


def test_labels_that_agree_in_no_number_are_a_failure() -> None:
    """An average with NaN in it is neither above nor below what is wanted."""
    assert "label agreement nan% (at least 99.9%)" in failures([changed(label_agreement=math.nan)], TOLERANCES["fp32"])


def test_labels_count_by_cells_where_there_are_several_words() -> None:
    """By hand: 200 cells that agree and 3,600 of which half do; one word has nothing to be taken for."""
    records = [
        changed(size=(10, 20), batch=1, words=2, label_agreement=1.0),
        changed(size=(30, 40), batch=3, words=3, label_agreement=0.5),
        changed(words=1, label_agreement=0.0),
    ]
    assert label_agreement(records) == pytest.approx((200 + 3600 / 2) / 3800)
    assert label_agreement(records[2:]) == label_agreement([]) == 1
    assert failures(records[1:], Tolerance(max_error=1, label_agreement=0.5)) == ""


def test_masks_are_compared_cell_by_cell() -> None:
    """Oracle: by hand, with one of four cells off by 0.5, which changes its label; the third row is no word."""
    expected = np.array([[[[0.75, 0.75]], [[0.5, 0.5]], [[0.9, 0.9]]], [[[0.1, 0.1]], [[0.6, 0.6]], [[0, 0]]]], "f4")
    given = expected.copy()
    given[1, 1, 0, 1] = 0.1 - 1 / 64
    case = Case(np.zeros((2, 3, 8, 16), "f4"), np.eye(3, 16, dtype="f4"), expected, num_labels=2)
    record = compare(case, Constant(given))
    assert (record.size, record.batch, record.words) == ((8, 16), 2, 3)
    assert record.max_error == pytest.approx(0.5 + 1 / 64)
    assert record.mean_error == pytest.approx((0.5 + 1 / 64) / 12)
    assert record.label_agreement == 0.75
    given[0, 0, 0, 0] = np.nan
    assert math.isnan(compare(case, Constant(given)).max_error)


def test_a_label_that_rises_is_another_label_too() -> None:
    case = Case(np.zeros((1, 3, 8, 8), "f4"), np.eye(2, 16, dtype="f4"), np.array([[[[0.5]], [[0.25]]]], "f4"), 2)
    assert compare(case, Constant(case.expected[:, ::-1])).label_agreement == 0


def test_the_cosine_is_that_of_all_masks_as_one_vector() -> None:
    """By hand: (3, 4) against (4, 3) is 24 / 25, whatever their size; nothing against nothing is 0."""
    for scale, cosine in ((1.0, 0.96), (1e-6, 0.96), (0.0, 0.0)):
        expected = np.array([[[[3, 4]]]], "f4") * np.float32(scale)
        case = Case(np.zeros((1, 3, 8, 16), "f4"), np.eye(1, 16, dtype="f4"), expected, num_labels=1)
        assert compare(case, Constant(expected[..., ::-1])).cosine == pytest.approx(cosine)


def test_masks_of_another_shape_are_refused() -> None:
    case = Case(np.zeros((1, 3, 8, 8), "f4"), np.eye(2, 16, dtype="f4"), np.zeros((1, 2, 2, 2), "f4"), num_labels=2)
    for shape in ((1, 2, 2, 1), (1, 2, 2, 3), (1, 1, 2, 2)):
        with pytest.raises(ParityError, match=re.escape(f"of shape (1, 2, 2, 2) and ONNX {shape}")):
            compare(case, Constant(np.zeros(shape, "f4")))


class Linear(torch.nn.Module):
    """Masks that are the mean colour times the first number of a word's row; keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.asked = torch.nn.Parameter(torch.ones(())), []

    def forward(self, image: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        self.asked.append((tuple(image.shape), len(text)))
        return self.weight * image.mean(dim=1, keepdim=True) * text[:, 0, None, None]


@pytest.mark.parametrize(("num_words", "labels"), [(3, [1, 3, 2]), (2, [1, 2, 2]), (1, [1, 5, 2]), (0, [1, 5, 2])])
def test_pytorch_runs_once_an_image_and_labels_compete_among_words(num_words: int, labels: list[int]) -> None:
    """By hand: a word's mask does not depend on the others; of one word or none, labels are of whatever there is."""
    rng = np.random.default_rng(0)
    small, large = (rng.random(shape, np.float32) for shape in ((1, 3, 2, 4), (2, 3, 4, 2)))
    text = rng.random((7, 16), np.float32)
    reference = Linear()
    made = cases(reference, [(small, (1, 5)), (large, (2,))], text, num_words)
    assert reference.asked == [((1, 3, 2, 4), 5), ((2, 3, 4, 2), 2)]
    assert [case.num_labels for case in made] == labels
    for case, image, count in zip(made, (small, small, large), (1, 5, 2), strict=True):
        assert case.image is image
        np.testing.assert_array_equal(case.text, text[:count])
        expected = image.mean(axis=1, keepdims=True) * text[:count, 0, None, None]
        np.testing.assert_allclose(case.expected, expected, rtol=1e-6)


def test_rare_words_are_unit_rows_of_every_direction() -> None:
    """Identity: length 1, the same every time; among 512 directions no two of 64 come near each other."""
    rows = rare_words(64, 512)
    assert (rows.shape, rows.dtype) == ((64, 512), np.float32)
    cosines = rows @ rows.T
    np.testing.assert_allclose(np.diag(cosines), 1, rtol=1e-5)
    assert np.abs(cosines - np.diag(np.diag(cosines))).max() < 0.3
    assert abs(rows.mean()) < 0.01
    np.testing.assert_array_equal(rare_words(64, 512), rows)
