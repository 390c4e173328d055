"""The bundle's own text encoder. Oracles: the shipped vocabulary's rows, unit length, invariances."""

from pathlib import Path

import numpy as np
import pytest

from runtime.bundle import Bundle
from runtime.errors import VocabularyError
from runtime.words import text_encoder
from runtime.words.text_encoder import BundleTextEncoder, SpelledWordWarning
from runtime.words.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def encoder(tiny: Bundle) -> BundleTextEncoder:
    return BundleTextEncoder(tiny, {})


def test_it_gives_the_rows_that_were_shipped(tiny: Bundle, encoder: BundleTextEncoder) -> None:
    shipped = Vocabulary.shipped(tiny)
    phrases = list(shipped.rows)
    np.testing.assert_allclose(encoder.encode(phrases), shipped.embeddings, atol=1e-5)


def test_rows_do_not_depend_on_their_neighbours(tiny: Bundle) -> None:
    """Short rows are padded: alone and beside a long phrase they must mean the same."""
    phrases = ["dog", "a very long phrase about a red brick wall beside a river", "traffic light"]
    together = BundleTextEncoder(tiny, {}).encode(phrases)
    alone = np.concatenate([BundleTextEncoder(tiny, {}).encode([phrase]) for phrase in phrases])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)


def test_many_phrases_repeated_phrases_and_none(tiny: Bundle, encoder: BundleTextEncoder) -> None:
    phrases = [f"{colour} {thing}" for colour in ("red", "blue", "green") for thing in ("car", "cup", "dog")] * 20
    rows = encoder.encode(phrases)
    assert rows.shape == (180, tiny.manifest.output.channels)
    assert np.array_equal(rows[:9], rows[9:18])
    assert encoder.encode([]).shape == (0, tiny.manifest.output.channels)


def test_words_that_change_for_a_month_do_not_pile_up(tiny: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: an encoder that has seen nothing else."""
    monkeypatch.setattr(text_encoder, "MOST_KEPT", 3)
    encoder = BundleTextEncoder(tiny, {})
    for number in range(4):
        rows = encoder.encode(["dog", f"cat {number}", f"cup {number}"])
    assert len(encoder._kept) == 3
    assert all(row.base is None for row in encoder._kept.values())  # or each would keep all that came with it
    assert "dog" in encoder._kept  # used each time
    np.testing.assert_allclose(rows, BundleTextEncoder(tiny, {}).encode(["dog", "cat 3", "cup 3"]), atol=1e-5)
    many = [f"red {number}" for number in range(5)]  # more than are kept
    np.testing.assert_allclose(encoder.encode(many), BundleTextEncoder(tiny, {}).encode(many), atol=1e-5)


def test_case_and_space_do_not_matter_and_meaning_does(encoder: BundleTextEncoder) -> None:
    car, upper, automobile, banana = encoder.encode(["car", "CAR", "automobile", "banana"])
    np.testing.assert_allclose(car, upper, atol=1e-6)
    assert car @ automobile > car @ banana + 0.1


@pytest.mark.parametrize("phrase", ["🐕", "שלום", "مرحبا", "狗", "dog 🐕", "\u200b"])
def test_words_that_the_model_never_learnt_are_refused(encoder: BundleTextEncoder, phrase: str) -> None:
    with pytest.raises(VocabularyError, match="the model does not know the word"):
        encoder.encode(["car", phrase])


@pytest.mark.parametrize(
    ("phrase", "part"), [("dog 🐕", "🐕"), ("a 猫 and a кот", "猫 кот"), ("fußgänger", "fußgänger")]
)
def test_the_part_that_is_unknown_is_named(encoder: BundleTextEncoder, phrase: str, part: str) -> None:
    with pytest.raises(VocabularyError, match=f"the model does not know the word '{part}'"):
        encoder.encode([phrase])


@pytest.mark.parametrize(
    ("phrase", "spelled"),
    [
        ("xqzt", r"'xqzt' \(x-q-z-t\)"),
        ("a red Fahrrad", r"'Fahrrad' \(Fa-hr-rad\)"),
        ("giraffes", r"'giraffes' \(gi-raf-fe-s\)"),
        ("qwertyuiop", r"'qwertyuiop' \(q-wer-ty-ui-op\)"),
    ],
)
def test_words_that_are_only_spelled_are_told_once(tiny: Bundle, phrase: str, spelled: str) -> None:
    """Oracle: the pieces of the tokenizer's file, looked up by hand."""
    encoder = BundleTextEncoder(tiny, {})
    with pytest.warns(SpelledWordWarning, match=f"the model only spells {spelled}: what it finds may mean nothing"):
        encoder.encode(["car", phrase])
    encoder.encode([phrase])


def test_words_made_of_words_plurals_accents_and_numbers_are_not_told(encoder: BundleTextEncoder) -> None:
    encoder.encode(["skateboard", "hairdryer", "zebras", "TVs", "café", "t-shirt", "12345", "windscreen", "puppies"])


def test_a_long_list_makes_one_warning(tiny: Bundle) -> None:
    phrases = [f"{first}{second}zqt" for first in "bcdfg" for second in "kxv"]
    with pytest.warns(SpelledWordWarning, match=r"'bkzqt' .* and 5 more: ") as told:
        BundleTextEncoder(tiny, {}).encode(phrases)
    assert len(told) == 1


def test_a_phrase_that_is_too_long_is_not_cut_in_silence(encoder: BundleTextEncoder) -> None:
    with pytest.raises(VocabularyError, match=r"is 40 tokens long, the model reads \d+: shorten it"):
        encoder.encode(["dog " * 40])


def test_known_phrases_need_no_text_encoder(tiny: Bundle, tmp_path: Path) -> None:
    manifest = tiny.manifest.model_copy(update={"text_encoder": None, "text": None})
    row = np.eye(1, manifest.output.channels, dtype=np.float32)[0]
    encoder = BundleTextEncoder(Bundle(tmp_path, manifest), {"car": row})
    assert np.array_equal(encoder.encode(["car", "car"]), [row, row])
    with pytest.raises(VocabularyError, match="exported without a text encoder"):
        encoder.encode(["dog"])
