"""What a source's name stands for. Oracle: the messages."""

import pytest

from runtime.errors import SourceError
from runtime.sources.open import open_source
from runtime.sources.source import Source


def test_a_missing_source_says_what_was_expected() -> None:
    with pytest.raises(SourceError, match=r"'nowhere\.mp4' does not exist: expected a video file"):
        open_source("nowhere.mp4")
    with pytest.raises(SourceError, match=r"gopher://x' is of a kind that is not supported"):
        open_source("gopher://x")
    with pytest.raises(SourceError, match="no picture in"):
        open_source("nothing-*.jpg")


def test_a_source_that_yields_nothing_says_so() -> None:
    with pytest.raises(TypeError, match="Source does not yield frames"):
        iter(Source())
