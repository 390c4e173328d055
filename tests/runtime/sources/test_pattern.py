"""The test picture. Oracle: its description."""

import numpy as np
import pytest

from runtime.errors import SourceError
from runtime.sources.open import open_source


def test_the_pattern_is_what_was_asked_for() -> None:
    frames = list(open_source("test://pattern?size=64x48&frames=3&fps=10"))
    assert [frame.image.shape for frame in frames] == [(48, 64, 3)] * 3
    assert frames[2].time_s == pytest.approx(0.2)
    assert not np.array_equal(frames[0].image, frames[2].image)


@pytest.mark.parametrize(
    "uri", ["test://cats", "test://pattern?size=0x4", "test://pattern?frame=3", "test://pattern?fps=x"]
)
def test_bad_patterns_say_what_was_expected(uri: str) -> None:
    with pytest.raises(SourceError, match=r"expected test://pattern\?size=640x480"):
        open_source(uri)
