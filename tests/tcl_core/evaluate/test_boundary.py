"""Boundaries and small components. Oracles: loops over pixels, flood fill in Python."""

import numpy as np
import pytest

from tcl_core.evaluate.boundary import BOUNDARY_SHARE, SMALL_SHARE, BoundaryIou, SmallComponents, boundary_of

VOID = 255


def blobs(seed: int, size: tuple[int, int] = (30, 40), num_classes: int = 3, void: bool = True) -> np.ndarray:
    """Labels in patches of a few pixels, and specks."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, num_classes, (size[0] // 5, size[1] // 5))
    labels = coarse.repeat(5, 0).repeat(5, 1)
    specks = random.random(size) < 0.05
    labels[specks] = random.integers(0, num_classes, int(specks.sum()))
    if void:
        labels[random.random(size) < 0.03] = VOID
    return labels


def naive_boundary(mask: np.ndarray, width: int) -> np.ndarray:
    height, length = mask.shape
    edge = np.zeros_like(mask)
    for y in range(height):
        for x in range(length):
            for down in range(-width, width + 1):
                for right in range(-width, width + 1):
                    inside = 0 <= y + down < height and 0 <= x + right < length
                    edge[y, x] |= mask[y, x] and not (inside and mask[y + down, x + right])
    return edge


@pytest.mark.parametrize("seed", range(2))
def test_boundary_iou_is_a_naive_loop(seed: int) -> None:
    """Exact; void pixels are left out of both."""
    truth, predicted = blobs(seed), blobs(seed + 10, void=False)
    width = round(BOUNDARY_SHARE * float(np.hypot(*truth.shape)))
    assert width >= 1
    found = BoundaryIou.of(4)
    found.add(truth, predicted, VOID)
    for label in range(4):
        true, said = naive_boundary(truth == label, width), naive_boundary(predicted == label, width)
        np.testing.assert_array_equal(boundary_of(truth == label, width), true)
        counted = truth != VOID
        assert found.intersection[label] == (true & said & counted).sum()
        assert found.union[label] == ((true | said) & counted).sum()
    known = found.union > 0
    assert found.mean == pytest.approx((found.intersection[known] / found.union[known]).mean())
    assert np.isnan(BoundaryIou.of(2).mean)


def components(mask: np.ndarray) -> list[set[tuple[int, int]]]:
    """Flood fill, eight neighbours."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    found = []
    while left:
        waiting, group = [left.pop()], set()
        while waiting:
            y, x = waiting.pop()
            group.add((y, x))
            near = {(y + down, x + right) for down in (-1, 0, 1) for right in (-1, 0, 1)} & left
            left -= near
            waiting += near
        found.append(group)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_small_components_are_flood_fill(seed: int) -> None:
    """Exact, in any order."""
    truth, predicted = blobs(seed), blobs(seed + 10, void=False)
    ours = SmallComponents()
    ours.add(truth, predicted, VOID, 3)
    expected = []
    for label in range(3):
        true = components(truth == label)
        said = components((predicted == label) & (truth != VOID))
        for group in true:
            if len(group) >= SMALL_SHARE * truth.size:
                continue
            others = set().union(*(other for other in true if other is not group))
            touching = set().union(*(other for other in said if other & group))
            expected.append(len(group & touching) / len(group | (touching - others)))
    assert expected
    assert sorted(ours.ious) == pytest.approx(sorted(expected))
    assert ours.mean == pytest.approx(np.mean(expected))
    assert np.isnan(SmallComponents().mean)
