"""A result by itself, without a network. Oracle: the blend written out in NumPy, to one level."""

import numpy as np
import pytest

from runtime.segmentation import Segmentation

FRAME = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3) * 3
MASK = np.arange(24, dtype=np.uint8).reshape(4, 6) % 3
COLOURS = np.array([[0, 0, 0], [10, 20, 250], [200, 100, 0]], np.uint8)


def painted(alpha: float) -> np.ndarray:
    mixed = (1 - alpha) * FRAME.astype(float) + alpha * COLOURS[MASK]
    return np.where((MASK == 0)[..., None], FRAME, mixed)


def result(**fields: object) -> Segmentation:
    """Three words, the first of them the background."""
    return Segmentation(
        mask=MASK,
        names=("background", "cat", "sofa"),
        frame=FRAME,
        soft_masks=np.zeros((3, 4, 6), np.float32),
        threshold=None,
        colours=COLOURS,
        unpainted=0,
        speed={},
        **fields,
    )


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_a_picture_has_the_opacity_that_was_asked_for(alpha: float) -> None:
    ready = np.full_like(FRAME, 77)  # stands for what was blended while the masks were enlarged
    for given in (result(), result(blended=ready, blended_alpha=0.7)):
        assert np.abs(given.plot(alpha=alpha, legend=False) - painted(alpha)).max() <= 1
    reused = result(blended=ready, blended_alpha=alpha)
    picture = reused.plot(alpha=alpha, legend=False)
    assert np.array_equal(picture, ready)
    picture[:] = 0
    assert (ready == 77).all()


def test_coverage_counts_pixels() -> None:
    assert result().coverage() == {"background": 8 / 24, "cat": 8 / 24, "sofa": 8 / 24}
