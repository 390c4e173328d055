"""What a run may write. Oracle: the bytes of every file before and after."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from runtime.__main__ import app
from runtime.sources.open import SHIPPED_CLIP

PATTERN = "test://pattern?frames=2&size=64x48"


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "400"})
    return done.exit_code, " ".join(done.output.split())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the command runs in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["v.mp4", "v.mp4", "--overwrite"], "is the source itself"),
        (["v.mp4", "link.mp4", "--overwrite"], "is the source itself"),
        (["v.mp4", "--headless", "--stats", "in/../v.mp4"], "is the source itself"),
        (["v.mp4", "old.mp4"], "old.mp4 exists"),
        (["v.mp4", "--headless", "--stats", "old.mp4"], "old.mp4 exists"),
        (["v.mp4", "o.mp4", "./o.mp4"], "two results would be written to"),
        (["v.mp4", "o.png", "--classes", "words.txt", "--stats", "words.txt", "--overwrite"], "is the source itself"),
        (["in/a.png", "in/b.png", "in/c.png", "out/"], "quote the pattern ('*.png')"),
        (["in/a.png", "in/b.png", "in/c.png", "out/", "--overwrite"], "--to"),
        (["in/a.png", "in/b.png", "out/"], "quote the pattern ('*.png')"),
        (["in", "in"], "in is the folder that the sources are read from"),
        (["in", "./in/", "--overwrite"], "is the folder that the sources are read from"),
        (["in", "masks/x.png"], "is one file, and the source has more frames"),
        (["in", "x.png"], "is one picture, and the source has 3"),
        (["in", "there"], "there/b.png exists"),
        (["v.mp4", "there/%d.png"], "there/7.png exists"),
        (["in", "foreign/masks"], "holds masks of other words (cat)"),
        (["in", "foreign/masks", "--overwrite"], "holds masks of other words (cat)"),
    ],
)
def test_nothing_that_is_there_is_replaced(arguments: list[str], message: str, folder: Path) -> None:
    """Oracle: the bytes of every file before and after."""
    (folder / "v.mp4").write_bytes(SHIPPED_CLIP.read_bytes())
    (folder / "link.mp4").symlink_to("v.mp4")
    (folder / "old.mp4").write_text("an earlier result")
    (folder / "words.txt").write_text("car\n")
    for name in ("in", "there", "foreign/masks"):
        (folder / name).mkdir(parents=True)
    for name in ("in/a.png", "in/b.png", "in/c.png", "there/b.png", "there/7.png"):
        cv2.imwrite(str(folder / name), np.zeros((8, 8, 3), np.uint8))
    (folder / "foreign/masks/classes.txt").write_text("cat\n")
    before = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    code, said = run("--classes", "car", *arguments)
    assert code == 2, said
    assert message in said
    assert {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()} == before


def test_results_are_replaced_when_that_is_asked_for(folder: Path) -> None:
    (folder / "o.mp4").write_text("an earlier result")
    code, said = run(PATTERN, "o.mp4", "--classes", "car", "--overwrite", "--stats", "s.jsonl")
    assert code == 0, said
    assert cv2.VideoCapture("o.mp4").get(cv2.CAP_PROP_FRAME_COUNT) == 2
