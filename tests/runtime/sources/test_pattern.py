"""The test picture. Oracle: its description."""

import itertools

import numpy as np
import pytest

from runtime.errors import SourceError
from runtime.sources.open import open_source


def test_the_pattern_is_what_was_asked_for() -> None:
    source = open_source("test://pattern?size=64x48&frames=3&fps=10")
    frames = list(source)
    assert (source.count, source.fps, source.problems) == (3, 10, [])
    assert [frame.image.shape for frame in frames] == [(48, 64, 3)] * 3
    assert [(frame.index, frame.name, frame.time_s) for frame in frames] == [
        (0, "000000", 0.0),
        (1, "000001", 0.1),
        (2, "000002", 0.2),
    ]


def test_a_disc_goes_round_once_in_100_frames() -> None:
    """By hand: right, below, left, above, 0.3 of a side from the middle; its radius is a sixth of the shorter side."""
    frames = [frame.image for frame in open_source("test://pattern?size=100x60&frames=101")]
    places = []
    for image in frames[::25]:
        rows, columns = np.nonzero((image == (40, 60, 230)).all(axis=-1))
        places.append((columns.mean(), rows.mean()))
        assert len(rows) == pytest.approx(np.pi * 10**2, rel=0.05)
    assert places == [(80, 30), (50, 48), (20, 30), (50, 12), (80, 30)]
    corners = frames[0][[0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.tolist() == [[0, 0, 96], [252, 0, 96], [0, 250, 96], [252, 250, 96]]


def test_the_smallest_pattern_has_a_disc_and_a_rate() -> None:
    source = open_source("test://pattern?size=1x1&frames=2&fps=0")
    assert [frame.time_s for frame in source] == [0, 1]
    assert source.fps == 1


def test_a_pattern_is_endless_unless_told_otherwise() -> None:
    source = open_source("test://pattern?size=2x2")
    assert (source.count, source.fps) == (None, 25)
    assert len(list(itertools.islice(source, 3))) == 3
    assert next(iter(open_source("test://pattern"))).image.shape == (480, 640, 3)


@pytest.mark.parametrize(
    "uri", ["test://cats", "test://pattern?size=0x4", "test://pattern?frame=3", "test://pattern?fps=x"]
)
def test_bad_patterns_say_what_was_expected(uri: str) -> None:
    with pytest.raises(SourceError, match=r"expected test://pattern\?size=640x480"):
        open_source(uri)
