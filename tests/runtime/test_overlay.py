"""Legend and outlines. Oracles: pixels that must and must not change, and a naive loop over neighbours."""

import itertools

import numpy as np
import pytest

from runtime.colours import colours_of
from runtime.overlay import LEGEND_SHARE, OUTLINED_PX, draw_legend, draw_outlines

GREY = 100


def grey(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), GREY, np.uint8)


def drawn(names: list[str], shares: list[float], size: tuple[int, int] = (240, 320)) -> tuple[np.ndarray, list[str]]:
    """A legend over grey, and those words whose swatch it shows, from top to bottom."""
    image, colours = grey(*size), colours_of(names)
    draw_legend(image, names, colours, shares)
    column = round(0.6 * max(10, min(size) / 30))
    swatches = image[:, column : column + 1]
    rows = {name: np.flatnonzero((swatches == c).all(-1)) for name, c in zip(names, colours, strict=True)}
    found = {name: at[0] for name, at in rows.items() if len(at)}
    return image, sorted(found, key=lambda name: found[name])


def test_the_legend_lists_what_is_there_in_the_order_of_the_words() -> None:
    names = ["car", "asphalt", "שלום 狗", "tree", "a speck"]
    image, shown = drawn(names, [0.1, 0.6, 0.2, 0.0, 0.0005])
    assert shown == names[:3]
    assert drawn(names, [0.6, 0.01, 0.1, 0.0, 0.0])[1] == names[:3]
    assert drawn(names, [0.6, 0.0, 0.1, 0.2, 0.0])[1] == ["car", "שלום 狗", "tree"]
    assert (image[100:] == GREY).all()
    assert (image[:, 160:] == GREY).all()
    assert (drawn(names, [0.0] * 5)[0] == GREY).all()


@pytest.mark.parametrize("size", [(48, 64), (90, 120), (240, 320), (960, 540), (300, 1900), (1080, 1920), (2160, 3840)])
@pytest.mark.parametrize("count", [1, 4, 30])
def test_the_legend_is_a_small_share_of_the_frame(size: tuple[int, int], count: int) -> None:
    """Oracle: the pixels that changed."""
    names = [f"word {i} {'of a long description ' * (i % 4)}" for i in range(count)]
    image, shown = drawn(names, [1 / count] * count, size)
    changed = (image != GREY).any(-1)
    assert changed.mean() <= LEGEND_SHARE
    assert shown or min(size) < 100
    if shown:
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        assert (rows[0], columns[0]) == (0, 0)
        assert rows[-1] < 0.8 * size[0]
        assert columns[-1] < 0.46 * size[1] + 1
    if min(size) >= 240:
        assert len(shown) >= min(count, 3)


def test_what_does_not_fit_is_counted_and_the_largest_are_shown() -> None:
    """Oracle: the legend of the shown words alone, above the count; the count has no colour."""
    names = [f"word {i:02}" for i in range(50)]
    shares = [0.01 + 0.0001 * (i * 7 % 50) for i in range(50)]
    image, shown = drawn(names, shares)
    assert 3 <= len(shown) < 49
    assert set(shown) == set(sorted(names, key=lambda name: -shares[int(name[5:])])[: len(shown)])
    colours = np.concatenate([colours_of(names)[[int(name[5:]) for name in shown]], [[GREY] * 3]]).astype(np.uint8)
    alone = grey(240, 320)
    draw_legend(alone, [*shown, f"+ {50 - len(shown)} more"], colours, [0.1] * (len(shown) + 1))
    swatch = (alone == GREY).all(-1) & (image != GREY).any(-1)
    assert 0 < swatch.sum() <= 12 * 12
    assert np.array_equal(image[~swatch], alone[~swatch])


def test_long_words_are_shortened_further_where_there_are_many() -> None:
    """Oracle: the width that changed."""

    def legend_width(count: int) -> int:
        names = [f"extraordinarily long description of delivery van {i}" for i in range(count)]
        image, shown = drawn(names, [1 / count] * count, (432, 768))
        assert shown == names
        return int(np.flatnonzero((image != GREY).any((0, 2)))[-1])

    assert 0.3 * 768 < legend_width(2) <= 0.45 * 768
    assert 0.2 * 768 < legend_width(7) <= 0.3 * 768


@pytest.mark.parametrize("size", [(1, 1), (5, 400), (400, 5), (40, 40), (48, 64)])
def test_a_small_picture_has_no_room_for_a_legend(size: tuple[int, int]) -> None:
    assert (drawn(["elephant"], [0.5], size)[0] == GREY).all()


def bands(labels: np.ndarray, before: int, after: int) -> np.ndarray:
    """Where the square from `before` pixels up and left to `after` pixels down and right holds different labels."""
    found = np.zeros(labels.shape, bool)
    for y, x in itertools.product(*map(range, labels.shape)):
        square = labels[max(y - before, 0) : y + after + 1, max(x - before, 0) : x + after + 1]
        found[y, x] = (square != labels[y, x]).any()
    return found


@pytest.mark.parametrize(
    ("size", "line", "shade"),
    [((12, 30), (1, 0), None), ((OUTLINED_PX, 210), (1, 0), (2, 1)), ((720, 750), (1, 1), (2, 2))],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_outlines_lie_along_the_borders_only(
    size: tuple[int, int], line: tuple[int, int], shade: tuple[int, int] | None, dtype: type
) -> None:
    labels = np.zeros(size, dtype)
    labels[3:9, 4:20] = 2
    labels[5, 6] = 1
    labels[4:8, 15:26] = np.iinfo(dtype).max - (255 if dtype == np.uint16 else 0)  # 65280: its low byte is 0
    image = grey(*size)
    draw_outlines(image, labels)
    part = slice(0, 20), slice(0, 40)
    light = bands(labels[part], *line)
    dark = np.zeros_like(light) if shade is None else bands(labels[part], *shade) & ~light
    assert np.array_equal((image[part] > GREY).all(-1), light)
    assert np.array_equal((image[part] < GREY).all(-1), dark)
    assert (image[20:] == GREY).all()
    assert (image[:, 40:] == GREY).all()


@pytest.mark.parametrize("ground", [(0, 0, 0), (0, 0, 255), (40, 40, 230), (128, 128, 128), (255, 255, 255)])
def test_an_outline_is_seen_on_any_ground(ground: tuple[int, int, int]) -> None:
    """Red painted over red: the line differs from what lies beside it by a quarter of the range and more."""
    image = np.full((300, 300, 3), ground, np.uint8)
    labels = np.zeros((300, 300), np.uint8)
    labels[:, 150:] = 1
    draw_outlines(image, labels)
    row = image[100].astype(int)
    assert np.abs(row[150] - row[151]).max() >= 60
    assert np.array_equal(image[:, :140], np.full((300, 140, 3), ground, np.uint8))


def test_one_label_has_no_border() -> None:
    image = grey(300, 300)
    draw_outlines(image, np.full((300, 300), 7, np.uint8))
    assert (image == GREY).all()
