"""What counts as the same masks. Oracles: differences by hand, and one number at a time that means nothing."""

import math

import numpy as np
import pytest

from export.parity import TOLERANCES, Case, Tolerance, compare, failures, is_finite
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
