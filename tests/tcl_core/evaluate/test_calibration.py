"""Confidence against accuracy. Oracles: torchmetrics, and sorting all pixels."""

import math

import pytest
import torch
from torchmetrics.functional.classification import binary_calibration_error

from tcl_core.evaluate.calibration import NUM_BINS, Calibration


@pytest.mark.parametrize("seed", range(3))
def test_figures_are_those_of_all_pixels(seed: int) -> None:
    """Oracle: torchmetrics' calibration error, 1e-5; the curve of sorted pixels, to a fine bin's pixels."""
    generator = torch.Generator().manual_seed(seed)
    confidence = torch.rand(20_000, generator=generator) ** (seed + 1)
    right = torch.rand(20_000, generator=generator) < confidence.sqrt()
    calibration = Calibration.empty()
    for part in torch.arange(20_000).split(7_000):
        calibration.add(confidence[part], right[part])
    theirs = binary_calibration_error(confidence, right.long(), n_bins=NUM_BINS, norm="l1")
    assert calibration.error == pytest.approx(float(theirs), abs=1e-5)
    surest = right[confidence.argsort(descending=True)].double()
    for coverage, accuracy in calibration.curve():
        count = round(coverage * len(surest))
        assert accuracy == pytest.approx(float(surest[:count].mean()), abs=0.01)
    assert calibration.curve()[-1] == (1.0, pytest.approx(float(right.double().mean())))


def test_by_hand() -> None:
    """Half of the pixels are surely right, the others less sure and wrong: leaving them out makes all right."""
    calibration = Calibration.empty()
    calibration.add(torch.tensor([1.0, 1.0, 0.6, 0.6]), torch.tensor([True, True, False, False]))
    assert calibration.error == pytest.approx(0.3)
    curve = dict(calibration.curve())
    assert curve[0.5] == pytest.approx(1.0)
    assert curve[1.0] == pytest.approx(0.5)


def test_what_is_no_probability_has_no_figures() -> None:
    calibration = Calibration.empty()
    assert math.isnan(calibration.error)
    assert calibration.curve() == []
    calibration.add(torch.tensor([0.5]), torch.tensor([True]))
    calibration.add(torch.tensor([-100.0]), torch.tensor([True]))
    assert not calibration.possible
    assert math.isnan(calibration.error)
    assert calibration.curve() == []
