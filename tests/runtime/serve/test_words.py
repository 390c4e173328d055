"""Words as JSON. Oracles: the segmenter itself, cosines by hand, files that a request must not reach."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.colours import colours_of
from runtime.errors import VocabularyError
from runtime.serve.words import WordSettings


@pytest.fixture
def words(stream: Any) -> WordSettings:
    return stream.channel.words


def test_what_is_told_is_what_the_segmenter_has(words: WordSettings, stream: Any) -> None:
    told, vocabulary = words.read(), stream.segmenter.vocabulary
    assert told["classes"] == ["car", "road|ground|asphalt"]
    assert tuple(told["background"]) == vocabulary.background
    assert told["threshold"] == vocabulary.threshold
    assert told["names"] == ["background", "car", "road"]
    blue, green, red = colours_of(["car"])[0].tolist()
    assert told["colours"][1] == f"#{red:02x}{green:02x}{blue:02x}"
    assert words.read() is told  # not worked out again for every viewer


def test_what_is_told_can_be_sent_back(words: WordSettings) -> None:
    words.change({"classes": ["dog|puppy:0.6", "cat"], "background": ["wall", "sky"], "threshold": 0.25})
    told = words.read()
    assert words.change(json.loads(json.dumps(told))) == told
    none = words.change({"background": None})
    assert none["background"] is None
    assert words.change(json.loads(json.dumps(none))) == none


def test_a_part_changes_and_the_rest_stays(words: WordSettings, stream: Any) -> None:
    words.change({"background": ["wall"], "threshold": 0.4})
    words.change({"classes": ["dog|puppy", "car:0.6"]})
    assert words.read() | {"colours": [], "confusable": []} == {
        "classes": ["dog|puppy", "car:0.6"],
        "background": ["wall"],
        "threshold": 0.4,
        "names": ["background", "dog", "car"],
        "colours": [],
        "confusable": [],
    }
    words.change({"threshold": 0.1})
    assert stream.segmenter.vocabulary.threshold == 0.1
    assert words.read()["classes"] == ["dog|puppy", "car:0.6"]
    assert words.change({"threshold": None, "background": "default"})["background"][:2] == ["sky", "grass"]


def test_a_text_is_read_as_on_the_command_line(words: WordSettings) -> None:
    told = words.change({"classes": 'cat, sofa|couch:0.6\n"dog" # no word'})
    assert told["classes"] == ["cat", "sofa|couch:0.6", "dog"]
    assert words.change({"background": "wall, sky"})["background"] == ["wall", "sky"]
    assert words.change({"background": "none"})["background"] is None


def test_words_that_the_model_confuses_are_told(words: WordSettings, stream: Any) -> None:
    told = words.change({"classes": ["car", "automobile", "grass"]})
    rows = stream.segmenter.vocabulary.rows
    assert {"first": "car", "second": "automobile", "cosine": round(float(rows["car"] @ rows["automobile"]), 3)} in (
        told["confusable"]
    )
    assert all(float(rows[pair["first"]] @ rows[pair["second"]]) > 0.89 for pair in told["confusable"])


@pytest.mark.parametrize(
    ("wanted", "message", "word"),
    [
        ({"classes": ["car", "犬"]}, "does not know the word '犬'", "犬"),
        ({"classes": ["car:60"]}, "write car:0.6", "car:60"),
        ({"classes": ["car", "tree|Car"]}, "given twice", "Car"),
        ({"classes": ["a, b"]}, "a comma within one class", "a, b"),
        ({"classes": ["<b>\0"]}, "control characters", "<b>\0"),
        ({"classes": []}, "no words to segment", None),
        ({"classes": [1]}, "expected a list of words", None),
        ({"classes": {"car": 1}}, "expected a list of words", None),
        ({"classes": None}, "expected a list of words", None),
        ({"background": ["wall:0.5"]}, "has a threshold", "wall:0.5"),
        ({"background": ["car"]}, "given twice", "car"),
        ({"background": 3}, "background 3 given", None),
        ({"classes": [str(number) for number in range(2001)], "background": None}, "2001 words given", None),
        ({"classes": ["|".join(str(number) for number in range(1990))]}, "at most 2000 are taken", None),
        ({"background": [str(number) for number in range(2000)]}, "at most 2000 are taken", None),
        ({"threshold": 2}, "threshold 2 given, expected a number from 0 to 1", None),
        ({"threshold": 10**400}, "threshold 1000.* given, expected a number from 0 to 1", None),
        ({"threshold": float("nan")}, "threshold nan given, expected a number from 0 to 1", None),
        ({"threshold": "0.5"}, "threshold '0.5' given, expected a number", None),
        ({"threshold": True}, "threshold True given, expected a number", None),
        ({"clases": ["car"]}, "'clases' cannot be set", None),
        (["car"], "expected an object", None),
    ],
)
def test_what_is_refused_changes_nothing(
    words: WordSettings, stream: Any, wanted: Any, message: str, word: str | None
) -> None:
    before = stream.segmenter.vocabulary
    with pytest.raises(VocabularyError, match=message) as refused:
        words.change(wanted)
    assert refused.value.word == word
    assert stream.segmenter.vocabulary is before


@pytest.mark.parametrize("name", ["words.txt", "./words.txt", "words.safetensors"])
def test_no_file_of_this_machine_is_read(words: WordSettings, tmp_path: Path, monkeypatch: Any, name: str) -> None:
    """Whoever sends words may be elsewhere; the command line would read these names."""
    monkeypatch.chdir(tmp_path)
    Path(name).write_text("secret\n")
    for wanted in ({"classes": name}, {"classes": [name]}, {"background": name}, {"background": [name]}):
        with pytest.raises(VocabularyError, match="looks like a file"):
            words.change(wanted)


def test_words_change_within_two_frames(stream: Any) -> None:
    """Real network, real frames: the first result after the change has the new words and no other."""
    before = stream.step()
    assert before.names == ("background", "car", "road")
    stream.channel.words.change({"classes": ["wheel", "window"], "background": None})
    after = stream.step()
    assert after.names == ("wheel", "window")
    assert set(np.unique(after.mask)) <= {0, 1}
    with stream.channel.watching():
        stream.step()
    shot = stream.channel.newest
    assert shot.result.names == ("wheel", "window")
    assert shot.words_version == 2
