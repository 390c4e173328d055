"""Colours of words. Oracles: CIEDE2000 held to its published pairs, recorded colours, a word in a list of its own."""

import random

import numpy as np
import pytest

from runtime.colours import TIERS, colours_of

# fmt: off
COMMON = ["car", "person", "road", "tree", "sky", "building", "grass", "water", "dog", "cat",
          "wall", "floor", "table", "chair"]
# fmt: on

# Sharma, Wu, Dalal: The CIEDE2000 color-difference formula, 2005, table 1.
PUBLISHED = [
    ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
    ((50.0, 2.8361, -74.0200), (50.0, 0.0, -82.7485), 3.4412),
    ((50.0, 0.0, 0.0), (50.0, -1.0, 2.0), 2.3669),
    ((50.0, 2.4900, -0.0010), (50.0, -2.4900, 0.0009), 7.1792),
    ((50.0, -0.0010, 2.4900), (50.0, 0.0009, -2.4900), 4.8045),
    ((50.0, 2.5, 0.0), (50.0, 0.0, -2.5), 4.3065),
    ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
    ((50.0, 2.5, 0.0), (61.0, -5.0, 29.0), 22.8977),
    ((50.0, 2.5, 0.0), (56.0, -27.0, -3.0), 31.9030),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((63.0109, -31.0961, -5.8663), (62.8187, -29.7946, -4.0864), 1.2630),
    ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
]


def lab(bgr: np.ndarray) -> np.ndarray:
    """sRGB under D65 as CIELAB."""
    rgb = bgr[..., ::-1].astype(float) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    xyz = linear @ np.array(to_xyz).T / (0.95047, 1, 1.08883)
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)


def ciede2000(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    (l1, a1, b1), (l2, a2, b2) = np.moveaxis(first, -1, 0), np.moveaxis(second, -1, 0)
    chroma = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    stretch = 1.5 - 0.5 * np.sqrt(chroma**7 / (chroma**7 + 25.0**7))
    c1, c2 = np.hypot(stretch * a1, b1), np.hypot(stretch * a2, b2)
    h1, h2 = np.arctan2(b1, stretch * a1) % (2 * np.pi), np.arctan2(b2, stretch * a2) % (2 * np.pi)
    turn = (h2 - h1 + np.pi) % (2 * np.pi) - np.pi
    light, chroma, hue = (l1 + l2) / 2, (c1 + c2) / 2, np.where(c1 * c2 == 0, h1 + h2, h1 + turn / 2)
    degrees = np.degrees(hue) % 360
    t = 1 - 0.17 * np.cos(hue - np.radians(30)) + 0.24 * np.cos(2 * hue)
    t += 0.32 * np.cos(3 * hue + np.radians(6)) - 0.2 * np.cos(4 * hue - np.radians(63))
    sl = 1 + 0.015 * (light - 50) ** 2 / np.sqrt(20 + (light - 50) ** 2)
    sc, sh = 1 + 0.045 * chroma, 1 + 0.015 * chroma * t
    rotation = np.radians(60 * np.exp(-(((degrees - 275) / 25) ** 2)))
    rt = -np.sin(rotation) * 2 * np.sqrt(chroma**7 / (chroma**7 + 25.0**7))
    dl, dc, dh = (l2 - l1) / sl, (c2 - c1) / sc, 2 * np.sqrt(c1 * c2) * np.sin(turn / 2) / sh
    return np.sqrt(dl**2 + dc**2 + dh**2 + rt * dc * dh)


@pytest.mark.parametrize(("first", "second", "expected"), PUBLISHED)
def test_the_measure_is_the_published_one(first: tuple, second: tuple, expected: float) -> None:
    assert ciede2000(np.array(first), np.array(second)) == pytest.approx(expected, abs=1e-4)


def least_distance(colours: np.ndarray) -> float:
    values = lab(colours)
    return float((ciede2000(values[:, None], values[None]) + 1000 * np.eye(len(values))).min())


@pytest.mark.parametrize(
    ("count", "solid", "mixed"), [(2, 16, 10.5), (5, 16, 10.5), (20, 16, 10.5), (23, 16, 10.5), (150, 5.5, 3.2)]
)
def test_any_words_are_told_apart_also_over_a_frame(count: int, solid: float, mixed: float) -> None:
    """2.3 is what one just notices side by side; `mixed` is at half opacity over dark, middle and bright grey."""
    draw = random.Random(count)
    for _ in range(3):
        colours = colours_of([f"word {draw.random()}" for _ in range(count)])
        assert least_distance(colours) > solid
        for ground in (40, 128, 215):
            assert least_distance(np.rint(0.5 * colours + 0.5 * ground)) > mixed


def test_a_word_keeps_its_colour_in_every_list_and_run() -> None:
    """Recorded: a hash that changes from run to run would give others."""
    recorded = {"car": (180, 96, 60), "road": (0, 216, 255), "sky": (240, 252, 0), "grass": (120, 168, 0)}
    for words in (list(recorded), list(recorded)[::-1], ["CAR", "Road", "sky", "grass"]):
        assert list(map(tuple, colours_of(words).tolist())) == [recorded[word.lower()] for word in words]
    alone = np.concatenate([colours_of([word]) for word in COMMON])
    assert np.array_equal(colours_of(COMMON), alone)


def test_another_word_changes_few_colours_and_none_before_it_in_the_alphabet() -> None:
    draw = random.Random(0)
    changed = 0
    for _ in range(300):
        *words, added = (f"thing {draw.random()}" for _ in range(9))
        moved = (colours_of(words) != colours_of([added, *words])[1:]).any(axis=1)
        assert not moved[[word < added for word in words]].any()
        changed += int(moved.sum())
    assert changed < 0.05 * 300 * 8


def test_a_table_of_256_then_colours_are_shared() -> None:
    words = [f"word {i}" for i in range(300)]
    assert len(set(map(tuple, colours_of(words[:256]).tolist()))) == sum(TIERS) == 256
    assert colours_of(words).shape == (300, 3)
    assert len(set(map(tuple, colours_of(["Car", "car", "CAR"]).tolist()))) == 3


def test_the_grey_of_the_background_comes_first() -> None:
    with_background = colours_of(COMMON, background=True)
    assert with_background[0].tolist() == [128, 128, 128]
    assert np.array_equal(with_background[1:], colours_of(COMMON))
    assert colours_of([]).shape == (0, 3)
    greys = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    table = colours_of([f"word {i}" for i in range(256)])
    assert ciede2000(lab(table)[:, None], lab(greys)[None]).min() > 10
