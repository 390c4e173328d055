"""A source over and over again. Oracle: the frames of the source itself."""

import itertools

import numpy as np
import pytest

from runtime.errors import SourceError
from runtime.sources.loop import LoopSource
from runtime.sources.open import open_source

PATTERN = "test://pattern?frames=3&size=64x48"


def test_it_begins_again_and_counts_on() -> None:
    expected = [frame.image for frame in open_source(PATTERN)]
    opened = []

    def again():
        opened.append(open_source(PATTERN))
        return opened[-1]

    with LoopSource(again) as source:
        assert (source.ends, source.live, source.count, source.fps) == (False, False, None, opened[0].fps)
        frames = list(itertools.islice(source, 8))
    assert [frame.index for frame in frames] == list(range(8))
    steps = np.diff([frame.time_s for frame in frames])
    assert steps == pytest.approx(np.full(7, 1 / opened[0].fps))
    for frame, image in zip(frames, itertools.cycle(expected), strict=False):
        assert np.array_equal(frame.image, image)
    assert len(opened) == 3


@pytest.mark.parametrize(
    ("text", "message"), [("test://pattern", "never ends"), ("test://pattern?frames=0", "no frames")]
)
def test_what_cannot_begin_again_is_refused(text: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        next(iter(LoopSource(lambda: open_source(text))))
