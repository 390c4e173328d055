"""Intervals. Oracle: a naive double loop over draws and pictures."""

import math

import numpy as np
import pytest
import torch

from tcl_core.evaluate.bootstrap import draw, interval, mean_ious, paired_difference
from tcl_core.evaluate.counts import ClassCounts


def random_counts(num_pictures: int, num_classes: int, seed: int) -> ClassCounts:
    """Some classes in few pictures, and one in none."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(0, 50, (num_pictures, num_classes), generator=generator)
    prediction = torch.randint(0, 50, (num_pictures, num_classes), generator=generator)
    rare = torch.rand(num_pictures, num_classes, generator=generator) < 0.6
    rare[:, -1] = True
    label[rare], prediction[rare] = 0, 0
    share = torch.rand(num_pictures, num_classes, generator=generator)
    return ClassCounts((torch.minimum(label, prediction) * share).long(), prediction, label)


def naive(counts: ClassCounts, draws: torch.Tensor) -> list[float]:
    found = []
    for times in draws.tolist():
        ious = []
        for label in range(counts.label.shape[1]):
            both = either = 0
            for picture, repeated in enumerate(times):
                both += repeated * int(counts.intersection[picture, label])
                either += repeated * int(
                    counts.prediction[picture, label]
                    + counts.label[picture, label]
                    - counts.intersection[picture, label]
                )
            if either:
                ious.append(both / either)
        found.append(sum(ious) / len(ious) if ious else math.nan)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_every_draw_is_a_naive_loop(seed: int) -> None:
    """1e-12; so are percentiles and paired differences of the same draws."""
    first, second = random_counts(7, 4, seed), random_counts(7, 4, seed + 100)
    draws = draw(7, 30, seed)
    assert draws.sum(dim=1).tolist() == [7] * 30
    expected = naive(first, draws)
    np.testing.assert_allclose(mean_ious(first, draws).numpy(), expected, rtol=0, atol=1e-12)
    found = interval(first, num_draws=30, seed=seed)
    assert (found.low, found.high) == pytest.approx(tuple(np.nanpercentile(expected, [2.5, 97.5])))
    assert found.value == pytest.approx(naive(first, torch.ones(1, 7, dtype=torch.int64))[0])
    differences = np.array(expected) - np.array(naive(second, draws))
    paired = paired_difference(first, second, num_draws=30, seed=seed)
    known = differences[~np.isnan(differences)]
    assert (paired.difference.low, paired.difference.high) == pytest.approx(tuple(np.percentile(known, [2.5, 97.5])))
    assert paired.share_above_zero == pytest.approx((differences > 0).mean())


def test_draws_are_uniform_and_repeatable() -> None:
    """Oracle: the mean of so many draws is one a picture, within five standard errors."""
    draws = draw(5, 20_000, 3)
    assert torch.equal(draws, draw(5, 20_000, 3))
    assert not torch.equal(draws, draw(5, 20_000, 4))
    error = math.sqrt(0.8 / 20_000)
    assert (draws.double().mean(dim=0) - 1).abs().max() < 5 * error


def test_one_system_against_itself() -> None:
    counts = random_counts(6, 3, 0)
    paired = paired_difference(counts, counts, num_draws=20)
    assert (paired.difference.low, paired.difference.high, paired.share_above_zero) == (0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="6 pictures against 5: expected the same pictures"):
        paired_difference(counts, random_counts(5, 3, 0))
