"""Colours and legend. Oracles: distances between colours, pixels that must and must not change."""

import numpy as np
import pytest

from runtime.overlay import draw_legend, palette


def test_colours_are_told_apart() -> None:
    colours = palette(20).astype(int)
    distances = np.abs(colours[:, None] - colours[None]).sum(axis=-1) + 1000 * np.eye(20, dtype=int)
    assert distances.min() >= 40
    assert np.array_equal(palette(20)[:7], palette(7))
    assert palette(300).shape == (300, 3)


def test_the_legend_shows_every_colour_and_leaves_the_rest_alone() -> None:
    image = np.full((240, 320, 3), 100, np.uint8)
    colours = palette(3)
    draw_legend(image, ["car", "asphalt", "שלום 狗"], colours)
    for colour in colours:
        assert (image == colour).all(axis=-1).sum() > 50
    assert (image[150:] == 100).all()
    assert (image[:, 200:] == 100).all()


def test_a_long_legend_counts_what_does_not_fit() -> None:
    """Oracle: a legend that just fits, whose last entry is that count; it has no colour of its own."""
    colours = palette(50)
    long, short = (np.full((120, 320, 3), 100, np.uint8) for _ in range(2))
    names = [f"word {i}" for i in range(50)]
    draw_legend(long, names, colours)
    shown = [bool((long == colour).all(axis=-1).any()) for colour in colours]
    count = sum(shown)
    assert count > 1
    assert shown == [True] * count + [False] * (50 - count)
    draw_legend(short, [*names[:count], f"and {50 - count} more"], colours)
    swatch = (short == colours[count]).all(axis=-1)
    assert swatch.any()
    assert np.array_equal(long[~swatch], short[~swatch])
    draw_legend(long, [*names[: count + 1], "one more"], colours)
    assert not (long == colours[count]).all(axis=-1).any()


@pytest.mark.parametrize("size", [(1, 1), (5, 400), (400, 5), (40, 40)])
def test_a_small_picture_has_no_room_for_a_legend(size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 100, np.uint8)
    draw_legend(image, ["car"], palette(1))
    assert image.shape == (*size, 3)
