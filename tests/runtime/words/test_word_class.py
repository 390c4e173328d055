"""One class as typed. Oracles: written-out expectations; every slip is refused with what to write instead."""

import pytest

from runtime.errors import VocabularyError
from runtime.words.word_class import WordClass, parse_class


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("cat", WordClass("cat")),
        (" red \u00a0 banana, ", WordClass("red banana")),
        ("sofa | couch: 0.6", WordClass("sofa", ("couch",), 0.6)),
        ("car:.25", WordClass("car", (), 0.25)),
        ("road:0", WordClass("road", (), 0)),
        ("lane 2:1", WordClass("lane 2", (), 1)),
        ("car: 60%", WordClass("car", (), 0.6)),
        ("car:0.5 %", WordClass("car", (), 0.005)),
        ("sofa|couch:100%", WordClass("sofa", ("couch",), 1)),
        ("car\uff1a0.6", WordClass("car", (), 0.6)),  # the colon of Chinese and Japanese keyboards
        ("car:6e-1", WordClass("car", (), 0.6)),
        ("ratio 16:9 picture", WordClass("ratio 16:9 picture")),
        ("superman: the movie", WordClass("superman: the movie")),
        ("http://x", WordClass("http://x")),
        ("\ufeffcar\u200b", WordClass("car")),
        ("cafe\u0301", WordClass("caf\u00e9")),
        ('24" monitor', WordClass('24" monitor')),
        ("7", WordClass("7")),
    ],
)
def test_a_class_as_typed(typed: str, expected: WordClass) -> None:
    assert parse_class(typed) == expected
    assert parse_class(str(expected)) == expected


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("car:60", "threshold 60 in 'car:60': a soft mask lies between 0 and 1; write car:0.6 or car:60%"),
        ("car:1.5", "write car:0.015 or car:1.5%"),
        ("time 12:30", "threshold 30 in 'time 12:30'"),
        ("car:101%", "threshold 101% in 'car:101%': a soft mask lies between 0 and 1"),
        ("car:-0.5", "threshold -0.5 in"),
        ("car:nan", "threshold nan in"),
        ("car:0,6", "threshold '0,6' in 'car:0,6' is no number: write car:0.6"),
        ("car:½", "threshold '½' in 'car:½' is no number"),
        ("car:1/2", "threshold '1/2' in 'car:1/2' is no number"),
        ("car:", "threshold '' in 'car:' is no number: write car:0.6"),
        (":0.5", "an empty word in ':0.5'"),
        ("sofa:0.6|couch", "'sofa:0.6' in 'sofa:0.6|couch': one number stands at the end"),
        ("car:0.6:0.7", "'car:0.6' in 'car:0.6:0.7': one number stands at the end"),
        ("sofa||couch", "an empty word in 'sofa||couch'"),
        ("", "an empty word in ''"),
        (" , ", "an empty word in ' , '"),
        ("x" * 10_000, "a word of 10000 characters, beginning 'xxxx"),
        (3, "a class is text, not int: 3"),
        ("car; person", "a semicolon within one class, 'car; person'"),
        ("car;person:0.5", "a semicolon within one class"),
        ("3\tcar", "a tab within one class"),
        ("car\nroad", "a line break within one class"),
        ("tench, Tinca tinca", "a comma within one class, 'tench, Tinca tinca': synonyms are written sofa|couch"),
        ("0: person", "'0: person' begins with an index"),
        ("17 : dog", "'17 : dog' begins with an index"),
        ("words.TXT", "'words.TXT' looks like a file"),
        ("data.yaml", "'data.yaml' looks like a file"),
        ("home.safetensors", "'home.safetensors' looks like a file"),
        ("../labels", "'../labels' looks like a file"),
        ("caf\udce9", r"the word 'caf\udce9' is no UTF-8, but in an older encoding"),
        ("caf\ud83d", r"the word 'caf\ud83d' is no UTF-8"),
        ("car\x1b[31m", r"'car\x1b[31m' has control characters"),
        ("a\0b", r"'a\x00b' has control characters"),
    ],
)
def test_a_slip_is_explained(typed: str, message: str) -> None:
    with pytest.raises(VocabularyError) as raised:
        parse_class(typed)
    assert message in str(raised.value)
    str(raised.value).encode()  # can be printed anywhere
