"""Which words a run found. Oracle: maps in which the words are counted by hand."""

import numpy as np
import pytest

from runtime import tally as tally_module
from runtime.segmentation import Segmentation
from runtime.tally import Tally


def result(values: list[int], names: tuple[str, ...], unpainted: int | None = 0) -> Segmentation:
    mask = np.array([values], np.uint8)
    frame, soft = np.zeros((1, len(values), 3), np.uint8), np.zeros((len(names), 1, 1), np.float32)
    return Segmentation(mask, names, frame, soft, None, np.zeros((len(names), 3), np.uint8), unpainted, {})


WORDS = ("background", "car", "wheel", "sky")


def test_words_without_a_pixel_in_any_frame_are_told() -> None:
    tally = Tally()
    assert tally.never_found == ()
    tally.add(result([1, 1, 1], WORDS))
    assert tally.never_found == ("wheel", "sky")
    tally.add(result([0, 0, 3], WORDS))
    assert tally.never_found == ("wheel",)
    tally.add(result([2, 0, 0], WORDS))
    assert tally.never_found == ()


def test_the_background_is_no_word_unless_it_is_one() -> None:
    tally = Tally()
    tally.add(result([1, 2, 3], WORDS))
    assert tally.never_found == ()
    without = Tally()
    without.add(result([1, 2, 3], WORDS, unpainted=None))
    assert without.never_found == ("background",)


def test_words_that_come_and_go_are_judged_by_their_own_frames() -> None:
    tally = Tally()
    tally.add(result([1, 1], ("background", "car", "wheel")))
    tally.add(result([1, 1], ("background", "tree", "car")))
    assert tally.never_found == ("wheel",)
    tally.add(result([0, 0], ("background", "sea")))
    assert tally.never_found == ("wheel", "sea")
    tally.add(result([2, 2], ("background", "car", "wheel")))
    assert tally.never_found == ("sea",)


def test_words_typed_for_a_month_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally_module, "MOST_REMEMBERED", 2)
    tally = Tally()
    for number in range(9):
        tally.add(result([0, 0], ("background", "car", f"word {number}")))
    assert tally.never_found == ("car", "word 6", "word 7", "word 8")  # two, and those of the last frame
    long = tuple(f"name {number}" for number in range(5))
    tally.add(result([0, 0], long, unpainted=None))
    assert tally.never_found == ("word 7", "word 8", *long[1:])


def test_nothing_is_counted_once_every_word_is_found() -> None:
    tally = Tally()
    tally.add(result([1, 2, 3], WORDS))
    later = result([1, 1, 1], WORDS)
    tally.add(later)
    assert "counts" not in vars(later)
