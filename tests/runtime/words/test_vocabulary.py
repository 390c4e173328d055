"""Words as typed. Oracles: written-out expectations, and a loop for the merging of synonyms."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import BundleCorruptError, VocabularyError
from runtime.words.vocabulary import Background, Vocabulary, parse_background, parse_classes, split_background
from runtime.words.word_class import WordClass


class OneHot:
    """Encodes the i-th phrase as the i-th unit vector."""

    def encode(self, phrases: Sequence[str]) -> np.ndarray:
        return np.eye(len(phrases), 16, dtype=np.float32)


def test_classes_as_typed() -> None:
    expected = (WordClass("cat"), WordClass("sofa", ("couch",)), WordClass("red banana"))
    assert parse_classes("cat, sofa | couch,red   banana,") == expected
    assert parse_classes(["cat", "sofa|couch", "red banana"]) == expected


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("", "no words to segment"),
        (" , ,", "no words to segment"),
        ([], "no words to segment"),
        ("cat, dog, cat", "'cat' is given twice"),
        ("cat, dog|CAT", "'CAT' is given twice"),
        ("cat:0.5, cat", "'cat' is given twice"),
        ("cafe\u0301, caf\u00e9", "'caf\u00e9' is given twice"),
        ({"cat", "dog"}, "in a set, which has no order"),
        ({0: "cat"}, "a class is text, not int"),
        (b"cat", "a class is text, not int"),
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
    assert parse_classes(list(map(str, parsed))) == parsed


def test_lists_forgive_what_comes_of_splitting_a_text() -> None:
    """As `"car, road".split()` or a file's lines give them."""
    assert parse_classes(["car,", " road\n", WordClass("a, b")]) == (
        WordClass("car"),
        WordClass("road"),
        WordClass("a, b"),
    )


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (None, None),
        ("none", None),
        (" None ", None),
        ("DEFAULT", "default"),
        ("", ()),
        ([], ()),
        ("wall, floor|ground", ("wall", "floor", "ground")),
        (["wall", "floor,"], ("wall", "floor")),
        ("wall # and more\nfloor", ("wall", "floor")),
    ],
)
def test_a_background_as_typed(typed: Background, expected: object) -> None:
    assert parse_background(typed) == expected


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("sky, wall:0.5", r"background word 'wall:0\.5' has a threshold"),
        ("wall:50%", r"background word 'wall:0\.5' has a threshold"),
        ("none, wall", "'none' stands alone"),
        (["wall", "Default"], "'Default' stands alone"),
        ("wall\udce9", "is no UTF-8"),
    ],
)
def test_a_bad_background_is_explained(typed: Background, message: str) -> None:
    with pytest.raises(VocabularyError, match=message):
        parse_background(typed)


@pytest.mark.parametrize("name", ["background", "Background", "BACKGROUND", "__background__", "_background_"])
def test_the_class_called_background_is_taken_out(name: str) -> None:
    classes = parse_classes(f"{name}|wall:0.3, car, backgrounds")
    others, background = split_background(classes)
    assert others == (WordClass("car"), WordClass("backgrounds"))
    assert background == WordClass(name, ("wall",), 0.3)
    with pytest.raises(VocabularyError, match="takes it out"):
        Vocabulary.build(classes, OneHot())
    data = Vocabulary(parse_classes(name), (), None, OneHot().encode(["one"])).to_bytes()
    with pytest.raises(BundleCorruptError, match="a class is called 'background'"):
        Vocabulary.from_bytes(data, channels=16)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("background, __background__, car", "'background' and '__background__' are one class"),
        ("wall|background, car", r"'wall\|background' has the background as a synonym"),
        ("background", "no words to segment but 'background'"),
    ],
)
def test_a_background_that_cannot_be_one_is_explained(typed: str, message: str) -> None:
    with pytest.raises(VocabularyError, match=message):
        split_background(parse_classes(typed))


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


@pytest.mark.parametrize("general", [None, 0.3])
@pytest.mark.parametrize("background", [(), ("wall", "floor")])
def test_thresholds_stand_beside_the_merged_masks(background: tuple[str, ...], general: float | None) -> None:
    """A class without its own has the general one; the background takes part everywhere."""
    vocabulary = Vocabulary.build(
        parse_classes("cat:0.7, sofa|couch, cup|mug:0.1"), OneHot(), background=background, threshold=general
    )
    masks = np.random.default_rng(0).random((len(background) + 5, 4, 5), np.float32)
    merged = vocabulary.merge(masks)
    assert vocabulary.thresholds is not None
    assert len(vocabulary.thresholds) == len(merged)
    own = np.array([0.7, general or 0, 0.1], np.float32)
    assert np.array_equal(vocabulary.thresholds[-3:], own)
    assert vocabulary.names == ("background", "cat", "sofa", "cup")
    if background:
        assert vocabulary.constant is None
        assert vocabulary.thresholds[0] == -np.inf
        assert np.array_equal(merged[0], masks[:2].max(axis=0))
    else:
        assert vocabulary.constant == 0


def test_a_vocabulary_survives_the_file() -> None:
    classes = parse_classes(["cat:0.4", "sofa|couch", 'a "quoted" שלום', "<script>"])
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


def test_what_a_file_claims_is_checked() -> None:
    rows = OneHot().encode(["cat", "dog"])
    for classes, threshold, message in [
        ((WordClass("cat"), WordClass("Cat")), None, "'Cat' is given twice"),
        ((WordClass("cat"), WordClass("dog", threshold=7.0)), None, "threshold 7.0 is not between 0 and 1"),
        ((WordClass("cat"), WordClass("dog")), float("nan"), "threshold nan is not between"),
        ((WordClass("cat"), WordClass("dog", threshold="0.5")), None, "not supported"),  # type: ignore[arg-type]
        ((WordClass("cat"), WordClass(3)), None, "words are not text"),  # type: ignore[arg-type]
        ((), None, "or there are none"),
    ]:
        with pytest.raises(BundleCorruptError, match=f"not a vocabulary .*{message}"):
            Vocabulary.from_bytes(Vocabulary(classes, (), threshold, rows).to_bytes(), channels=16)
