"""Lists of words: a text as typed, or a file of one. Both are read by the same rules."""

import codecs
import csv
import re
import shlex
from pathlib import Path, PurePath

from runtime.errors import VocabularyError

SUFFIXES = (".txt", ".names", ".csv")

PATH_STARTS = ("/", "./", "../", "~/")

MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}

COMMENT = re.compile(r"(^|\s)#.*")
"""At the beginning of a line or after white space, so that C# stays a word."""

SPACE_AFTER_QUOTE = re.compile(r'"\s+(?=,)')

DECIMAL_COMMA = re.compile(r"[^,:]*:\s*\d*,\s*\d+\s*%?\s*(?=[,|]|$)")


def list_path(classes: str | Path) -> Path | None:
    """Tell which file is meant: by the suffix, or because it begins like a path. None for words."""
    if isinstance(classes, Path):
        return classes.expanduser()
    text = classes.strip()
    if "\n" in text or not (text.startswith(PATH_STARTS) or PurePath(text).suffix.lower() in SUFFIXES):
        return None
    path = Path(text).expanduser()
    return path if "," not in text or path.is_file() else None


def read_list(path: Path) -> str:
    """Read a word list: UTF-8, or UTF-16 and UTF-32 with their mark.

    Raises:
        VocabularyError: the file is not there, cannot be read, or is in another encoding, which nobody can know.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise VocabularyError(f"there is no word list {str(path)!r}: check the name, and the folder it is in") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = error.strerror if isinstance(error, OSError) else error
        raise VocabularyError(f"the word list {str(path)!r} cannot be read: {reason}") from None
    mark = next((mark for mark in MARKS if data.startswith(mark)), b"")
    try:
        text = data[len(mark) :].decode(MARKS.get(mark, "utf-8"))
    except UnicodeDecodeError as error:
        raise VocabularyError(f"{_place(path, data, error.start + len(mark))} is not UTF-8: {_advice(path)}") from None
    if "\0" in text:
        raise VocabularyError(f"the word list {str(path)!r} has zero bytes, so it is no text in UTF-8: {_advice(path)}")
    return text


def _place(path: Path, data: bytes, position: int) -> str:
    number = data.count(b"\n", 0, position) + 1
    line = data[data.rfind(b"\n", 0, position) + 1 :].split(b"\n", 1)[0].strip()[:40]
    return f"line {number} of the word list {str(path)!r}, {line!r},"


def _advice(path: Path) -> str:
    name = shlex.quote(ascii(str(path))[1:-1])
    return f"save it as UTF-8, or convert it, for instance by `iconv -f WINDOWS-1252 -t UTF-8 {name} > utf8.txt`"


def cells(line: str) -> list[str]:
    """Split a line at its commas, without a comment and empty cells; cells may be quoted as in CSV.

    Raises:
        VocabularyError: a quotation does not end, a threshold has a decimal comma, or the words are numbered.
    """
    content = SPACE_AFTER_QUOTE.sub('"', COMMENT.sub("", line).strip())
    if slip := DECIMAL_COMMA.search(content):
        typed = re.sub(r",\s*", ",", slip[0].strip())
        raise VocabularyError(f"a threshold with a comma, {typed!r}: write {typed.replace(',', '.')}")
    try:
        rows = list(csv.reader([content], skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise VocabularyError(f"{content!r} is not quoted as in CSV: {error}") from None
    found = [cell.strip() for row in rows for cell in row if cell.strip()]
    if len(found) > 1 and found[0].isdecimal() and not found[1].isdecimal():
        raise VocabularyError(f"{content!r} begins with an index: give the names only, the indices follow their order")
    return found
