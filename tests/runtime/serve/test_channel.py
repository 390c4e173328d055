"""What the stream leaves for viewers. Oracles: the results themselves, and which memory they lie in."""

from typing import Any

import numpy as np
import pytest

from runtime.errors import VocabularyError
from runtime.overlay import Look
from runtime.serve.channel import KEPT_S
from runtime.sinks.live_words import LiveWords
from runtime.sinks.sink import Sink


def test_the_newest_frame_is_kept_in_memory_of_its_own(stream: Any) -> None:
    with stream.channel.watching():
        first = stream.step()
        kept = stream.channel.newest
        mask, frame = first.mask.copy(), first.frame.copy()
        assert not np.shares_memory(kept.result.mask, first.mask)
        assert not np.shares_memory(kept.result.frame, first.frame)
        stream.step()  # overwrites the arrays of the first
    assert np.array_equal(kept.result.mask, mask)
    assert np.array_equal(kept.result.frame, frame)
    assert kept.result.names == ("background", "car", "road")
    assert (kept.number, kept.index, stream.channel.newest.number, stream.channel.newest.index) == (1, 0, 2, 1)
    assert kept.age_ms() > 0


def test_while_nobody_watches_a_frame_a_second_is_kept(stream: Any, monkeypatch: Any) -> None:
    now = 100.0
    monkeypatch.setattr("runtime.serve.channel.monotonic", lambda: now)
    kept = []
    for _ in range(4):
        stream.step()
        kept.append(stream.channel.newest.index)
        now += KEPT_S / 2
    assert kept == [0, 0, 2, 2]


def test_versions_follow_the_words_and_nothing_else(stream: Any) -> None:
    versions = []
    with stream.channel.watching():
        for change in (None, None, {"classes": ["dog"]}, None, {"threshold": 0.5}):
            if change:
                stream.channel.words.change(change)
            stream.step()
            versions.append(stream.channel.newest.words_version)
    assert versions == [1, 1, 2, 2, 3]


def test_news_are_told_and_cannot_come_too_late(stream: Any) -> None:
    channel, told = stream.channel, []
    channel.on_news(lambda: told.append(channel.newest))
    with channel.watching():
        stream.step()
        assert [shot.index for shot in told] == [0]
        channel.idle("live", 0.1)
        channel.idle("stale", 2.0)
        channel.idle("stale", 2.1)  # not ten times a second
        channel.idle("reconnecting", 3.0)
        assert len(told) == 3
        channel.close(complete=True)
        assert len(told) == 4
        channel.on_news(None)
        stream.step()
    assert len(told) == 4


def test_viewers_see_what_the_command_line_asked_for(stream: Any) -> None:
    assert not stream.channel.paints
    stream.channel.begin(Look(alpha=0.2, legend=False), LiveWords(stream.segmenter))
    assert stream.channel.look == Look(alpha=0.2, legend=False)


def test_words_stay_where_another_sink_needs_them_to(stream: Any) -> None:
    masks = Sink()
    masks.one_word_list = True
    stream.channel.begin(Look(), LiveWords(stream.segmenter, [stream.channel, masks]))
    before = stream.segmenter.vocabulary
    with pytest.raises(VocabularyError, match="masks are being written that are read with one list of words"):
        stream.channel.words.change({"classes": ["dog"]})
    assert stream.segmenter.vocabulary is before
