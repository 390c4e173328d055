"""Words as typed. Oracles: written-out expectations, and a loop for the merging of synonyms."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import BundleCorruptError, VocabularyError
from runtime.vocabulary import Vocabulary, WordClass, parse_classes, parse_phrases


class OneHot:
    """Encodes the i-th phrase as the i-th unit vector."""

    def encode(self, phrases: Sequence[str]) -> np.ndarray:
        return np.eye(len(phrases), 16, dtype=np.float32)


def test_classes_as_typed() -> None:
    expected = (WordClass("cat"), WordClass("sofa", ("couch",)), WordClass("red banana"))
    assert parse_classes("cat, sofa | couch,red   banana,") == expected
    assert parse_classes(["cat", "sofa|couch", "red banana"]) == expected


def test_classes_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("\ufeffcat\n\n# furniture\nsofa|couch\n", encoding="utf-8")
    assert parse_classes(str(path)) == (WordClass("cat"), WordClass("sofa", ("couch",)))


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("", "no words to segment"),
        (" , ,", "no words to segment"),
        ([], "no words to segment"),
        ("cat, dog, cat", "'cat' is given twice"),
        ("cat, dog|CAT", "'CAT' is given twice"),
        ("sofa||couch", "an empty word in 'sofa||couch'"),
        ([""], "an empty word"),
        ("x" * 10_000, "a word of 10000 characters, beginning 'xxxx"),
        ([3], "a class is text, not int"),
        ("missing.txt", r"word list 'missing\.txt' cannot be read"),
    ],
)
def test_bad_words_are_explained(classes: object, message: str) -> None:
    with pytest.raises(VocabularyError, match=message.replace("|", r"\|")):
        parse_classes(classes)


@given(st.lists(st.text(st.characters(exclude_characters="|,\n"), min_size=1), min_size=1, max_size=5))
def test_parsing_accepts_or_explains_any_text(classes: list[str]) -> None:
    """Oracle: the words that come out, typed again, come out again."""
    try:
        parsed = parse_classes(classes)
    except VocabularyError:
        return
    assert parse_classes([word.name for word in parsed]) == parsed


def test_a_background_may_be_empty() -> None:
    assert parse_phrases("") == ()
    assert parse_phrases("wall, floor|ground") == ("wall", "floor", "ground")


def test_a_word_cannot_be_class_and_background() -> None:
    with pytest.raises(VocabularyError, match="'wall' is given twice"):
        Vocabulary.build(parse_classes("wall"), OneHot(), background=("wall",))


def test_thresholds_are_checked() -> None:
    with pytest.raises(VocabularyError, match=r"threshold 1\.5 given"):
        Vocabulary.build(parse_classes("wall"), OneHot(), threshold=1.5)


@pytest.mark.parametrize("threshold", [None, 0.6])
@pytest.mark.parametrize("background", [(), ("wall",), ("wall", "floor")])
def test_merging_is_the_maximum_over_synonyms(background: tuple[str, ...], threshold: float | None) -> None:
    """Oracle: a loop over classes."""
    classes = parse_classes("cat, sofa|couch|settee, cup|mug")
    vocabulary = Vocabulary.build(classes, OneHot(), background=background, threshold=threshold)
    masks = np.random.default_rng(0).random((len(background) + 6, 4, 5), np.float32)
    words = masks[len(background) :]
    expected = [words[0], words[1:4].max(axis=0), words[4:6].max(axis=0)]
    if background:
        expected.insert(0, np.maximum(masks[: len(background)].max(axis=0), threshold or 0))
    assert np.array_equal(vocabulary.merge(masks), expected)
    assert vocabulary.constant == (None if background else threshold)
    has_background = bool(background) or threshold is not None
    assert vocabulary.names == (("background",) if has_background else ()) + ("cat", "sofa", "cup")


def test_a_vocabulary_survives_the_file() -> None:
    classes = parse_classes(["cat", "sofa|couch", 'a "quoted" שלום', "<script>"])
    vocabulary = Vocabulary.build(classes, OneHot(), background=("wall",), threshold=0.25)
    again = Vocabulary.from_bytes(vocabulary.to_bytes(), channels=16)
    assert (again.classes, again.background, again.threshold) == (classes, ("wall",), 0.25)
    assert np.array_equal(again.embeddings, vocabulary.embeddings)


def test_foreign_vocabularies_are_refused() -> None:
    data = Vocabulary.build(parse_classes("cat"), OneHot()).to_bytes()
    with pytest.raises(BundleCorruptError, match="made for another model"):
        Vocabulary.from_bytes(data, channels=512)
    with pytest.raises(BundleCorruptError, match="not a vocabulary"):
        Vocabulary.from_bytes(data[:-3], channels=16)
    with pytest.raises(BundleCorruptError, match="not a vocabulary"):
        Vocabulary.from_bytes(b"\x80\x04pickle", channels=16)
    nan = Vocabulary((WordClass("cat"),), (), None, np.full((1, 16), np.nan, np.float32))
    with pytest.raises(BundleCorruptError, match="not unit rows"):
        Vocabulary.from_bytes(nan.to_bytes(), channels=16)
