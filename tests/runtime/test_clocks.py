"""Wall clocks jump: when they are set, in spring and autumn. Oracle: the source, and every clock that it reads."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "runtime"

TELL_THE_TIME = {
    "benchmark/command.py": "when it was measured, in the report",
    "engines/cache.py": "when an engine was built, in its record",
    "sinks/bag.py": "stamps of pictures that have none, which robots count from 1970",
    "sinks/display.py": "the name of a saved picture",
    "sinks/ros2.py": "stamps of pictures that have none, which robots count from 1970",
}
"""Files that read the wall clock, and what for: to tell the time, never to measure it."""

WALL = {"time", "time_ns", "ctime", "gmtime", "localtime", "strftime", "now", "utcnow", "today", "CLOCK_REALTIME"}


def wall_clocks(path: Path) -> Iterator[str]:
    """Names by which a file reads the wall clock."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id in ("time", "datetime", "date") and node.attr in WALL:
                yield f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from (f"time.{alias.name}" for alias in node.names if alias.name in WALL)


def test_no_time_is_measured_by_the_wall_clock() -> None:
    read = {path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py") if list(wall_clocks(path))}
    assert read == set(TELL_THE_TIME)


def test_the_page_measures_no_time_by_the_wall_clock() -> None:
    for path in (ROOT / "serve" / "page").glob("*.js"):
        assert not re.search(r"\bDate\b", path.read_text(encoding="utf-8")), path


@pytest.mark.parametrize(
    "code",
    ["import time\na = time.time()", "from time import time_ns", "from datetime import datetime\ndatetime.now()"],
)
def test_wall_clocks_are_seen(code: str, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(code)
    assert len(list(wall_clocks(tmp_path / "a.py"))) == 1
