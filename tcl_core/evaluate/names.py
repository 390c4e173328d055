"""Class names of the benchmarks, word for word: figures move by points with them, so they are data with a source."""

import json
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from tcl_core.errors import ConfigError
from tcl_core.prompts import BACKGROUND, Word

NameList = Literal["benchmark", "groupvit", "maskclip", "sclip"]
NAME_LISTS: tuple[NameList, ...] = ("benchmark", "groupvit", "maskclip", "sclip")


@cache
def _recorded() -> dict[str, Any]:
    recorded: dict[str, Any] = json.loads(files("tcl_core.evaluate").joinpath("names.json").read_text("utf-8"))
    return recorded


def class_names(benchmark: str) -> tuple[str, ...]:
    """Names of a benchmark's classes in the order of its labels, the background first where there is one."""
    return tuple(_recorded()["classes"][benchmark])


def class_words(benchmark: str, names: NameList = "benchmark") -> tuple[Word, ...]:
    """Say how every class of a benchmark is prompted: a word each, in the order of its labels.

    A word keeps the name that the benchmark gives it, whatever it is called in prompts; blanks at the end are part of
    a name ("bed ").

    Args:
        benchmark: key of one of the eight.
        names: "benchmark", the unified evaluation's; "groupvit" and "maskclip", which rename a few classes; "sclip",
            where a class has several names and the background is made of things.

    Raises:
        ConfigError: no such list, or none for this benchmark.
    """
    own = class_names(benchmark)
    if names == "benchmark":
        return tuple(Word(name, (name,)) for name in own)
    if names not in NAME_LISTS:
        raise ConfigError(f"no list of names {names!r}: expected one of {', '.join(NAME_LISTS)}")
    if names == "sclip":
        listed = _recorded()["sclip"][benchmark]
        return tuple(Word(name, tuple(given.split("|"))) for name, given in zip(own, listed, strict=True))
    renamed = _recorded()[names].get(benchmark, {})
    return tuple(Word(name, (renamed.get(name, name),)) for name in own)


def has_background(benchmark: str) -> bool:
    """Tell whether the first class stands for pixels of no class: exactly if it is called so."""
    return class_names(benchmark)[0] == BACKGROUND


__all__ = ["NAME_LISTS", "NameList", "class_names", "class_words", "has_background"]
