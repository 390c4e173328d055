"""What an export keeps of its stages. Oracles: what was made, how often, when it was last used, and changes of code."""

import os
from pathlib import Path

import pytest

from export import stages
from export.stages import Stages, code_digest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "stages"


def kept(folder: Path) -> set[bytes]:
    """What is kept, without the hash before it."""
    return {path.read_bytes()[32:] for path in folder.glob("*.stage")}


def keep(folder: Path, *, used_s: dict[bytes, float]) -> None:
    """Keep results last used so many seconds after 1970."""
    for data, seconds in used_s.items():
        Stages(folder).result(data.decode(), None, lambda data=data: data)
        (path,) = (path for path in folder.glob("*.stage") if path.read_bytes().endswith(data))
        os.utime(path, (seconds, seconds))


def test_a_result_is_made_once_and_again_when_it_is_damaged_or_depends_on_something_else(folder: Path) -> None:
    made: list[int] = []
    told: list[tuple[str, str]] = []
    keeper = Stages(folder, lambda *what: told.append(what))

    def make() -> bytes:
        made.append(len(made))
        return b"graph %d" % made[-1]

    assert [keeper.result("tracing", key, make) for key in (1, 1, 2, 1)] == [
        b"graph 0",
        b"graph 0",
        b"graph 1",
        b"graph 0",
    ]
    assert keeper.result("calibrating", 1, make) == b"graph 2"
    (path,) = (path for path in folder.glob("*.stage") if path.read_bytes().endswith(b"graph 0"))
    path.write_bytes(path.read_bytes()[:-1] + b"1")
    told.clear()
    assert keeper.result("tracing", 1, make) == b"graph 3"
    assert told == [("tracing", "begins"), ("tracing", "done again: what was kept of it is damaged")]
    assert kept(folder) == {b"graph 1", b"graph 2", b"graph 3"}
    assert Stages(None).result("tracing", 1, make) == b"graph 4"


def test_what_was_used_longest_ago_goes_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The larger of two results is the older one, so that neither size nor name explains which goes."""
    keep(folder, used_s={b"older" * 20: 1_000, b"newer" * 10: 2_000, b"newest" * 10: 3_000})
    monkeypatch.setattr(stages, "LARGEST", sum(32 + size for size in (100, 50, 60, 10)))
    Stages(folder).result("fits", None, lambda: b"exactly..!")
    assert kept(folder) == {b"older" * 20, b"newer" * 10, b"newest" * 10, b"exactly..!"}
    Stages(folder).result("older" * 20, None, lambda: b"never made")  # used: no longer the oldest
    Stages(folder).result("one more", None, lambda: b"1")
    assert kept(folder) == {b"older" * 20, b"newest" * 10, b"exactly..!", b"1"}


def test_no_more_goes_than_must_and_never_what_was_just_made(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(folder, used_s={b"a" * 10: 1_000, b"b" * 10: 2_000, b"c" * 10: 5e9})  # c: from before a clock was set back
    monkeypatch.setattr(stages, "LARGEST", 3 * (32 + 10))
    Stages(folder).result("d", None, lambda: b"d" * 10)
    assert kept(folder) == {b"b" * 10, b"c" * 10, b"d" * 10}
    monkeypatch.setattr(stages, "LARGEST", 10)
    Stages(folder).result("e", None, lambda: b"e" * 10)
    assert kept(folder) == {b"e" * 10}


def test_a_change_in_a_package_below_is_noticed(tmp_path: Path) -> None:
    """Oracle: a change of the code at any depth."""
    (tmp_path / "towers").mkdir()
    for name in ("model.py", "towers/vit.py", "towers/notes.txt"):
        (tmp_path / name).write_text("x = 1\n", encoding="utf-8")
    before = code_digest([tmp_path])
    (tmp_path / "towers" / "notes.txt").write_text("no code\n", encoding="utf-8")
    assert code_digest([tmp_path]) == before
    (tmp_path / "towers" / "vit.py").write_text("x = 2\n", encoding="utf-8")
    changed = code_digest([tmp_path])
    (tmp_path / "towers" / "vit.py").rename(tmp_path / "towers" / "resnet.py")
    assert len({before, changed, code_digest([tmp_path])}) == 3


def test_a_long_stage_says_how_far_it_is() -> None:
    told: list[tuple[int, int]] = []
    stages = Stages(count=lambda done, total: told.append((done, total)))
    seen = [(item, told[-1]) for item in stages.counted("abc")]
    assert seen == [("a", (0, 3)), ("b", (1, 3)), ("c", (2, 3))]
    assert told[-1] == (3, 3)
