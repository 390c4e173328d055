"""The list of faults. Oracle: the syntax trees of the tests that it names."""

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROW = re.compile(r"^\| (\d+) \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")

ROWS = ROW.findall((ROOT / "docs" / "faults.md").read_text(encoding="utf-8"))


@cache
def functions_of(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def test_every_fault_is_there_once() -> None:
    assert [int(number) for number, *_ in ROWS] == list(range(1, 49))


def test_every_fault_has_a_test_or_a_reason_and_every_test_exists() -> None:
    for number, fault, _, held in ROWS:
        named = TEST.findall(held)
        assert named or "**Not here**: " in held, f"{number}. {fault}"
        rest = TEST.sub("", held.partition("**Not here**: ")[0]).replace("<br>", "")
        assert not rest.strip(), f"{number}. {fault}: {rest!r} is no test"
        missing = [f"{path}::{name}" for path, name in named if name not in functions_of(path)]
        assert not missing, f"{number}. {fault}: {missing}"
