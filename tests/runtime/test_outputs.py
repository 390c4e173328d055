"""What a run may write. Oracle: the bytes of every file before and after."""

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from runtime import Segmenter
from runtime.__main__ import app
from runtime.bundle import Bundle
from runtime.errors import SinkNameError, WriteError
from runtime.sinks.output import numbered
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


@pytest.mark.parametrize(
    "arguments",
    [
        ["v/*.mp4", PATTERN, "--to", "v/a.mp4"],
        ["file://{folder}/v/a.mp4", PATTERN, "--to", "v/a.mp4"],
        ["in/", "v/a.mp4", "--to", "in/a.png"],
        ["v/a.mp4", "--to", "c.json", "--config", "c.json"],
        ["v/a.mp4", "--to", "o.mp4", "--stats", "c.json", "--config", "c.json"],
    ],
)
def test_no_way_of_naming_a_source_lets_it_be_replaced(arguments: list[str], folder: Path) -> None:
    for name in ("in", "v"):
        (folder / name).mkdir()
    (folder / "v/a.mp4").write_bytes(SHIPPED_CLIP.read_bytes())
    cv2.imwrite(str(folder / "in/a.png"), np.zeros((8, 8, 3), np.uint8))
    (folder / "c.json").write_text("classes: car\n")
    before = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    code, said = run(*(argument.format(folder=folder) for argument in arguments), "--overwrite", "--refine", "none")
    assert code == 2, said
    assert "is the source itself" in said
    assert {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()} == before


@pytest.mark.parametrize(
    ("given", "save"),
    [
        (lambda: iter(["in/a.png"]), "in/a.png"),
        (lambda: [["in/a.png"]], "in/a.png"),
        (lambda: ["in/*.png"], "in/a.png"),
        (lambda: Image.open("in/a.png"), "in/"),
        (lambda: (name for name in ["in/a.png"]), "in/"),
    ],
)
def test_python_replaces_no_source_either(given: Callable[[], object], save: str, folder: Path, tiny: Bundle) -> None:
    (folder / "in").mkdir()
    cv2.imwrite("in/a.png", np.full((8, 8, 3), 77, np.uint8))
    before = (folder / "in/a.png").read_bytes()
    with Segmenter(tiny, classes="car", size=64, refine="none") as segmenter:
        with pytest.raises(SinkNameError, match="is the source itself|the folder that the sources are read from"):
            segmenter.predict(given(), save=save, overwrite=True)
        (result,) = segmenter.predict("in/a.png")
        with pytest.raises(SinkNameError, match="is the source itself"):
            result.save(result.path)
    assert (folder / "in/a.png").read_bytes() == before


def test_a_pipe_stays_a_pipe(folder: Path, tiny: Bundle) -> None:
    os.mkfifo("pipe.png")
    code, said = run(PATTERN, "pipe.png", "--overwrite", "--classes", "car")
    assert (code, "is a device or a pipe" in said) == (2, True)
    with Segmenter(tiny, classes="car", size=64, refine="none") as segmenter:
        result = segmenter(np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(WriteError, match="it is no file"):
        result.save("pipe.png")
    assert (folder / "pipe.png").is_fifo()


def test_results_stay_in_their_folder(folder: Path) -> None:
    for name in ("in", "in/here"):
        (folder / name).mkdir()
    cv2.imwrite("in/a.png", np.zeros((8, 8, 3), np.uint8))
    os.chdir("in/here")
    code, said = run("..", PATTERN, "--to", "out/", "--classes", "car", "--refine", "none")
    assert code == 0, said
    assert sorted(path.as_posix() for path in Path().rglob("*.png")) == [
        "out/in/a.png",
        "out/pattern/000000.png",
        "out/pattern/000001.png",
    ]
    for name in ("../a", "/a", "a/../../b"):
        with pytest.raises(SinkNameError, match="outside of"):
            numbered(Path("out/{name}.png"), 0, name)


@pytest.mark.parametrize(
    "arguments",
    [
        ["o.mp4", "--bundle", "nope"],
        ["o.mp4", "--classes", ""],
        ["o.gif", "--classes", "car"],
        ["two/", "./two/", "--classes", "car"],
    ],
)
def test_a_refused_run_touches_nothing(arguments: list[str], folder: Path) -> None:
    (folder / "s.jsonl").write_text("precious")
    code, said = run(PATTERN, *arguments, "--stats", "s.jsonl", "--overwrite")
    assert code == 2, said
    assert (folder / "s.jsonl").read_text() == "precious"
    assert not [path for path in folder.rglob("*") if path.is_file() and path.name != "s.jsonl"]


def test_what_has_no_frames_says_so(folder: Path) -> None:
    code, said = run("test://pattern?frames=0", "o.mp4", "o.json", "--classes", "car")
    assert (code, "no frames: nothing was written" in said) == (1, True)
    assert list(folder.iterdir()) == []
    assert run("", "o.mp4", "--classes", "car")[0] == 2
