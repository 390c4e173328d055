"""Pictures in the order that people count in, and a name for each that no other has."""

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path


def in_natural_order(paths: Iterable[Path]) -> list[Path]:
    """Sort by folders and names, numbers in them by value (2 before 10), without regard to case."""
    return sorted(paths, key=lambda path: ([_counted(part) for part in path.parts], path.parts))


def _counted(part: str) -> list[tuple[int, str]]:
    """Cut text before and after each number: numbers by length and digits, which orders them by value."""
    pieces = re.split(r"([0-9]+)", part.casefold())
    digits = [piece.lstrip("0") if index % 2 else piece for index, piece in enumerate(pieces)]
    return [(len(piece) if index % 2 else 0, piece) for index, piece in enumerate(digits)]


def unique_names(paths: Sequence[Path], counts: Sequence[int]) -> list[list[str]]:
    """Name every picture of every file, so that results named after them can lie in one folder of any file system.

    A picture is called after its file without the suffix; with it where another one would be called the same; by the
    path below the folder that all have in common where that is not enough; by a number as a last resort. Names that
    differ in case or in the way an accent is stored are the same to some file systems, and to this function. Several
    pictures of one file are numbered: NAME_0000, NAME_0001.

    Args:
        paths: different ones.
        counts: pictures in each file.
    """
    forms = _forms(paths)
    levels = [0] * len(paths)
    while True:
        taken: dict[str, int] = {}
        longer: set[int] = set()
        for file, (form, level, count) in enumerate(zip(forms, levels, counts, strict=True)):
            for name in _numbered(_form(form, level), count):
                first = taken.setdefault(_same(name), file)
                if first != file:
                    longer |= {one for one in (first, file) if levels[one] < len(forms[one]) - 1} or {file}
        if not longer:
            return [
                list(_numbered(_form(form, level), count))
                for form, level, count in zip(forms, levels, counts, strict=True)
            ]
        for file in longer:
            levels[file] += 1


def _forms(paths: Sequence[Path]) -> list[tuple[str, ...]]:
    """What each file may be called, from short to long."""
    whole = [Path(os.path.abspath(path)) for path in paths]  # noqa: PTH100 - links stay what they are called
    common = os.path.commonpath([path.parent for path in whole]) if whole else ""
    below = [path.relative_to(common) for path in whole]
    return [
        tuple(dict.fromkeys([path.stem, path.name, path.with_suffix("").as_posix(), path.as_posix()])) for path in below
    ]


def _form(form: tuple[str, ...], level: int) -> str:
    over = level - len(form) + 1
    return form[level] if over <= 0 else f"{form[-1]}-{over + 1}"


def _numbered(name: str, count: int) -> Iterator[str]:
    if count == 1:
        yield name
    else:
        yield from (f"{name}_{index:04d}" for index in range(count))


def _same(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())
