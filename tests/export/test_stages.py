"""What makes a kept result of an export stale. Oracle: a change of the code at any depth."""

from pathlib import Path

from export.stages import code_digest


def test_a_change_in_a_package_below_is_noticed(tmp_path: Path) -> None:
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
