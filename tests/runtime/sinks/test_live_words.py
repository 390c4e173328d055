"""Words that are changed while a stream runs. Oracle: the segmenter's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.bundle import Bundle
from runtime.errors import VocabularyError
from runtime.segmenter import Segmenter
from runtime.sinks.live_words import LiveWords
from runtime.sinks.open import open_sink
from runtime.sinks.output import Outputs
from runtime.sources.open import open_source


@pytest.fixture(scope="module")
def segmenter(tiny: Bundle) -> Iterator[Segmenter]:
    """One of this file's own: its words change."""
    with Segmenter(tiny, refine="none") as opened:
        yield opened


def test_they_are_those_of_the_segmenter(segmenter: Segmenter) -> None:
    words = LiveWords(segmenter)
    try:
        words.set_classes("cat, sofa|couch:0.6", background="wall")
        assert str(words) == "cat, sofa|couch:0.6"
        assert words.names == segmenter.names == ("background", "cat", "sofa")
        assert words.vocabulary is segmenter.vocabulary
        with pytest.raises(VocabularyError):
            words.set_classes("cat, cat")
        assert str(words) == "cat, sofa|couch:0.6"
    finally:
        segmenter.set_classes(None, background="default")


@pytest.mark.parametrize(
    ("name", "fixed"),
    [("masks/", True), ("m.npz", True), ("o.cvat.xml", True), ("o.jsonl", False), ("o.json", False), ("o.mp4", False)],
)
def test_what_is_read_with_one_list_of_words_keeps_them(
    name: str, fixed: bool, segmenter: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = segmenter.vocabulary
    sink = open_sink(name, open_source("test://pattern?frames=2"), segmenter.names, Outputs())
    words = LiveWords(segmenter, [sink])
    try:
        if fixed:
            with pytest.raises(VocabularyError, match="stay as they are"):
                words.set_classes("cat")
            assert segmenter.vocabulary is before
        else:
            words.set_classes("cat")
            assert segmenter.names == ("background", "cat")
    finally:
        sink.close(complete=False)
        segmenter.set_classes(None)
