"""Word lists as people have them. Oracle: the classes written out; the encodings are Python's codecs."""

import codecs
import os
import subprocess
from pathlib import Path

import pytest

from runtime.errors import VocabularyError
from runtime.words.vocabulary import parse_classes, parse_phrases


def names(classes: str | Path) -> list[str]:
    return list(map(str, parse_classes(classes)))


@pytest.mark.parametrize("name", ["words.txt", "WORDS.TXT", "coco.names", "words.csv", "a, b.txt"])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("car  # any car\nperson # people\n", ["car", "person"]),
        ("car, person, road\n", ["car", "person", "road"]),
        ("car,\nperson,\n", ["car", "person"]),
        ("\n# furniture\n  # more\nsofa|couch:0.6\n\n", ["sofa|couch:0.6"]),
        ('"car", "traffic light" ,road\n"red ""hot"" pan"\n', ["car", "traffic light", "road", 'red "hot" pan']),
        ("\tcar\t\n  road  ", ["car", "road"]),
        ('c# book\nnumber#1\n24" monitor', ["c# book", "number#1", '24" monitor']),
        ("1\n2\n3", ["1", "2", "3"]),
    ],
)
def test_a_list_is_read_whatever_it_is_called(text: str, expected: list[str], name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    for ending in ("\n", "\r\n", "\r"):
        path.write_bytes(text.replace("\n", ending).encode())
        assert names(str(path)) == expected
    assert names(path) == expected
    assert names(text) == expected  # as `--classes "$(cat words.txt)"` does
    if ":" not in text:
        assert parse_phrases(f" {path} ") == parse_phrases(expected)


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_encodings_that_say_what_they_are_are_read(mark: bytes, encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes(mark + "café, naïve car\r\n犬\r\n".encode(encoding))
    assert names(str(path)) == ["café", "naïve car", "犬"]


def test_files_that_were_joined_keep_no_marks(tmp_path: Path) -> None:
    path = tmp_path / "both.txt"
    path.write_bytes(codecs.BOM_UTF8 + b"car\n" + codecs.BOM_UTF8 + b"road\n")
    assert names(path) == ["car", "road"]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "cp1250"])
def test_an_encoding_that_nobody_can_know_is_refused(encoding: str, tmp_path: Path) -> None:
    """The advice is followed with iconv's own reading of these bytes: the same as Python's."""
    path = tmp_path / "words.txt"
    path.write_bytes("car\nkäfer\n".encode(encoding))
    with pytest.raises(
        VocabularyError, match=r"line 2 of the word list .*k\\xe4fer.* is not UTF-8: .*iconv -f"
    ) as raised:
        names(path)
    command = str(raised.value).split("`")[1]
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    assert names(tmp_path / "utf8.txt") == ["car", "käfer"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-32-be"])
def test_wide_characters_without_a_mark_are_refused(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes("car".encode(encoding))
    with pytest.raises(VocabularyError, match="has zero bytes, so it is no text in UTF-8"):
        names(path)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("missing.txt", "there is no word list 'missing.txt'"),
        ("words.TXT", "there is no word list 'words.TXT'"),
        ("./labels", "there is no word list 'labels'"),
        ("~/no such list", "no such list': check the name"),
        (Path("labels"), "there is no word list 'labels'"),
        ("caf\udce9.names", r"there is no word list 'caf\udce9.names'"),
        ("/", "the word list '/' cannot be read: Is a directory"),
        ("nul\0.txt", "cannot be read: embedded null"),
        ("x" * 300 + ".csv", "cannot be read: File name too long"),
        ("car, words.txt", "'words.txt' looks like a file"),
    ],
)
def test_a_file_that_cannot_be_read_is_never_a_word(
    classes: str | Path, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(VocabularyError) as raised:
        parse_classes(classes)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("car:0,6", 1, "a threshold with a comma, 'car:0,6': write car:0.6"),
        ("road\ncar:0, 6, tree", 2, "a threshold with a comma, 'car:0,6': write car:0.6"),
        ("car: ,25|x", 1, "a threshold with a comma"),
        ("0,car\n1,road", 1, "'0,car' begins with an index"),
        ("road\n7,car,#ff0000", 2, "'7,car,#ff0000' begins with an index"),
        ('"car, road', 1, "'\"car, road' is not quoted as in CSV"),
        ('\n\n"car" red', 3, "'\"car\" red' is not quoted as in CSV"),
        ('"tench, Tinca tinca"', 1, "a comma within one class"),
        ("car;person", 1, "a semicolon within one class"),
        ("0\tcar", 1, "a tab within one class"),
    ],
)
def test_a_slip_in_a_list_is_explained_with_its_line(text: str, line: int, message: str, tmp_path: Path) -> None:
    path = tmp_path / "words.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(VocabularyError) as raised:
        names(path)
    assert str(raised.value).startswith(f"'{path}', line {line}: {message}")
    with pytest.raises(VocabularyError) as raised:
        names(text)
    assert str(raised.value).startswith(message)


def test_names_that_are_no_utf8_are_opened(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/w\xf6rter.txt"
    Path(os.fsdecode(name)).write_bytes(b"car\n")
    assert names(os.fsdecode(name)) == ["car"]
