"""Masks as NumPy arrays. Oracle: np.load."""

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtime.errors import SinkError, SinkNameError
from runtime.sinks.open import open_sink
from runtime.sinks.output import Outputs
from runtime.sources.source import Source


def test_numpy_loads_masks_by_the_names_of_frames(write, frames) -> None:
    with np.load(write("masks.npz", frames)) as arrays:
        assert arrays["names"].tolist() == list(frames[0][0].names)
        assert sorted(arrays) == ["000012", "left/\\udcff<1>", "names"]
        for name, (result, _) in zip(("left/\\udcff<1>", "000012"), frames, strict=True):
            assert np.array_equal(arrays[name], result.mask)
            assert arrays[name].dtype == np.uint8


def test_masks_of_16_bits_keep_their_values(write, frames, renamed) -> None:
    words = tuple(map(str, range(301)))
    result, frame = renamed(frames[0], words)
    mask = np.array([[0, 300]], np.uint16)
    with np.load(write("o.npz", [(replace(result, mask=mask), frame)], words=words)) as arrays:
        assert np.array_equal(arrays["left/\\udcff<1>"], mask)


def test_other_words_and_equal_names_are_refused(write, frames, renamed, tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="words changed"):
        write("a.npz", [frames[0], renamed(frames[1], ("background", "sky", "sea"))])
    with pytest.raises(SinkError, match=r"two arrays would be called '000012'"):
        write("b.npz", [frames[1], frames[1]])
    source = Source()
    source.names = ["a", "names"]
    with pytest.raises(SinkNameError, match="a picture has that name"):
        open_sink(str(tmp_path / "c.npz"), source, frames[0][0].names, Outputs())


def test_a_stopped_one_can_be_loaded(write, frames, tmp_path: Path) -> None:
    left = write("masks.npz", frames[:1], complete=False)
    assert left == tmp_path / "masks.partial.npz"
    with np.load(left) as arrays:
        assert len(arrays) == 2


def test_a_long_video_does_not_fill_the_memory(write, frames) -> None:
    """Oracle: the allocator's own count, and what the masks take."""
    result, frame = frames[0]
    named = [(result, replace(frame, name=f"{i:06d}")) for i in range(1000)]
    tracemalloc.start()
    write("masks.npz", named)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < len(named) * result.mask.nbytes / 4
