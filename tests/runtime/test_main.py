"""The command line as a user runs it. Oracles: exit codes, messages, and the files read back.

Most of a program is its start, so one of each kind is started and the others run here.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from runtime.__main__ import app
from runtime.sinks.masks import read_mask
from runtime.sinks.open import open_sink
from runtime.sources.open import SHIPPED_CLIP
from runtime.tools import TOOLS, tools

PATTERN = "test://pattern?frames=5&size=64x48"


def run(*arguments: str) -> Result:
    """The command in this process; what it raises and does not explain is raised here."""
    command = tools if arguments[0] in TOOLS else app
    done = CliRunner().invoke(command, list(arguments), env={"COLUMNS": "200"})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the command runs in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def program(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "runtime", *arguments]
    env = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=120)


def test_a_stream_into_every_kind_of_sink(tmp_path: Path) -> None:
    done = run(PATTERN, "o.mp4", "o.png", "o/%03d.jpg", "masks", "--classes", "disc, sky", "--stats", "s.jsonl")
    assert done.exit_code == 0, done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["masks", "o", "o.mp4", "o.png", "s.jsonl"]
    assert sorted(p.name for p in (tmp_path / "o").iterdir()) == [f"00{i}.jpg" for i in range(5)]
    assert (tmp_path / "masks" / "classes.txt").read_text().split() == ["background", "disc", "sky"]
    assert len([json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]) == 5
    for word in ("decode", "pre", "infer", "post", "overlay", "write", "end to end", "p50", "p90", "p99", "fps"):
        assert word in done.stdout


def test_the_network_may_look_at_every_third_frame(tmp_path: Path) -> None:
    arguments = ["--keyframe", "3", "--temporal", "0.5", "--threads", "1", "--headless", "--stats", "s.jsonl"]
    done = program(PATTERN, "--classes", "disc", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    frames = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    assert [frame["speed"]["pre"] > 0 for frame in frames] == [True, False, False, True, False]


def test_other_words_other_masks(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), [f for _, f in zip(range(96), frames(SHIPPED_CLIP), strict=False)][95])
    masks = []
    for words in ("car, asphalt", "wheel, sky, tree"):
        done = run("a.png", f"{len(masks)}/masks", "--classes", words, "--background", "none")
        assert done.exit_code == 0, done.stderr
        masks.append(read_mask(tmp_path / f"{len(masks)}/masks/a.png"))
    assert not np.array_equal(*masks)


def frames(path: Path):
    capture = cv2.VideoCapture(str(path))
    while True:
        decoded, image = capture.read()
        if not decoded:
            return
        yield image


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["none.mp4", "o.mp4"], "'none.mp4' does not exist", 2),
        (["empty.mp4", "o.mp4"], "is empty", 1),
        (["page.mp4", "o.mp4"], "is a web page", 1),
        ([PATTERN, "o.mp4", "--classes", ""], "no words to segment", 2),
        ([PATTERN, "o.mp4", "--classes", "cat, cat"], "'cat' is given twice", 2),
        ([PATTERN, "o.mp4", "--classes", "z" * 10_000], "a word of 10000 characters", 2),
        ([PATTERN, "o.mp4", "--classes", "🐕"], "does not know the word '🐕'", 2),
        ([PATTERN, "o.mp4", "--classes", "שלום"], "does not know the word 'שלום'", 2),
        ([PATTERN, "o.mp4", "--bundle", "absent"], "no bundle 'absent'", 2),
        ([PATTERN, "o.gif"], "sink 'o.gif' given, expected", 2),
        ([PATTERN, "o.mp4", "--provider", "tpu"], "provider 'tpu' given", 2),
        ([PATTERN, "display", "--headless"], "contradict each other", 2),
        ([PATTERN, "o.mp4", "--temporal", "1"], "temporal weight 1.0 given, expected 0 (no smoothing) to below 1", 2),
        ([PATTERN, "o.mp4", "--classes", "none.txt"], "there is no word list 'none.txt'", 2),
        ([PATTERN, "o.mp4", "--classes", "page.safetensors"], "is no word file", 1),
        ([PATTERN, "o.mp4", "--bundle", "damaged.tclb"], "has no manifest.json", 1),
        ([PATTERN, "page.mp4/o.mp4"], "cannot be made: ", 1),
        ([PATTERN, "o.mp4", "--refine", "well"], "refinement 'well' given", 2),
        ([PATTERN, "o.mp4", "--threads", "100000"], "--threads", 2),
        ([PATTERN, "o.mp4", "--alpha", "2"], "--alpha", 2),
    ],
)
def test_bad_input_is_explained_and_leaves_nothing(
    arguments: list[str], message: str, code: int, tmp_path: Path
) -> None:
    """What cannot be asked for ends with 2; what is there and cannot be used, with 1."""
    (tmp_path / "empty.mp4").touch()
    for name in ("page.mp4", "page.safetensors"):
        (tmp_path / name).write_text("<html>")
    (tmp_path / "damaged.tclb").mkdir()
    before = sorted(tmp_path.iterdir())
    done = run(*arguments)
    assert done.exit_code == code, done.stderr
    assert message in done.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_a_truncated_video_keeps_what_was_segmented_under_another_name(tmp_path: Path) -> None:
    (tmp_path / "cut.mp4").write_bytes(SHIPPED_CLIP.read_bytes()[:200_000])
    done = run("cut.mp4", "o.mp4", "--classes", "car", "--refine", "none", "--keyframe", "5")
    assert done.exit_code == 1
    assert "is damaged" in done.stderr
    assert "o.partial.mp4" in done.stderr
    assert not (tmp_path / "o.mp4").exists()
    assert sum(1 for _ in frames(tmp_path / "o.partial.mp4")) > 20


def test_unreadable_pictures_are_skipped_counted_and_reported(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / "in" / f"{name}.png"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "in" / "broken.png").write_bytes(b"broken")
    (tmp_path / "in" / "notes.txt").write_text("not one of them")
    done = run("in", "out", "--classes", "car")
    assert done.exit_code == 1
    assert "left out: other files (1): notes.txt" in done.stderr
    assert "skipped 1" in done.stderr
    assert "broken.png: not a picture" in done.stderr
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.png", "b.png"]


def listen(number: signal.Signals) -> Callable[[], object]:
    """Whoever starts the tests in the background has signals ignored, and children inherit that."""
    return partial(signal.signal, number, signal.SIG_DFL)


@pytest.mark.parametrize(
    ("number", "length", "name"),
    [
        (signal.SIGINT, "", "o.mp4"),
        (signal.SIGTERM, "&frames=50000", "o.partial.mp4"),
        (signal.SIGHUP, "&frames=50000", "o.partial.mp4"),
    ],
)
def test_a_signal_finishes_the_video(number: signal.Signals, length: str, name: str, tmp_path: Path) -> None:
    """Under its name if the source has no end, else as a part."""
    source = f"test://pattern?size=64x48{length}"
    command = [sys.executable, "-m", "runtime", source, "o.mp4", "--classes", "car", "--refine", "none"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=listen(number)
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "o.partial.mp4").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number, errors
    assert "fps" in output
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert sum(1 for _ in frames(tmp_path / name)) > 0
    assert ("stopped after" in errors) == (length != "")


def test_a_signal_before_the_first_frame_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes while the sinks are opened."""

    def opened(*given: object, **named: object) -> object:
        signal.raise_signal(signal.SIGTERM)
        return open_sink(*given, **named)

    monkeypatch.setattr("runtime.assembly.open_sink", opened)
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        done = run("test://pattern?size=64x48", "o.mp4", "--classes", "car")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert done.exit_code == 143, done.output
    assert not Path("o.mp4").exists()


def test_ctrl_c_ends_a_segmenter_that_takes_minutes_to_open(tmp_path: Path) -> None:
    """As with the first engine on a device; here it sleeps."""
    code = (
        "import signal, sys, time, runtime.assembly, runtime.__main__ as program\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background\n"
        "runtime.assembly.Segmenter = lambda *_, **__: (print('opening', flush=True), time.sleep(100))\n"
        "sys.argv = ['runtime', 'test://pattern', 'o.mp4']\n"
        "program.main()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "opening\n"
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["words", "absent"], "no bundle 'absent'", 2),
        (["words", "tiny", "none.safetensors"], "there is no word file none.safetensors", 2),
        (["words", "tiny", "page.safetensors"], "is no word file", 1),
        (["words", "tiny", "--classes", "car", "--output", "page.safetensors"], "add --overwrite", 2),
        (["words", "damaged.tclb"], "has no manifest.json", 1),
        (["engine", "absent"], "no bundle 'absent'", 2),
        (["engine", "tiny", "--imgsz", "1"], "network size 1 given", 2),
        (["engine", "damaged.tclb"], "has no manifest.json", 1),
        (["doctor", "--fast"], "No such option", 2),
    ],
)
def test_tools_end_with_the_same_codes(arguments: list[str], message: str, code: int, tmp_path: Path) -> None:
    (tmp_path / "damaged.tclb").mkdir()
    (tmp_path / "page.safetensors").write_text("<html>")
    done = run(*arguments)
    assert done.exit_code == code, done.stderr
    assert message in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"), [([PATTERN, "o.gif"], "sink 'o.gif' given"), (["words", "absent"], "no bundle 'absent'")]
)
def test_the_program_ends_with_the_code_of_its_command(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = program(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_help_has_examples() -> None:
    done = run("--help")
    assert done.exit_code == 0
    assert "python -m runtime street.mp4 out.mp4" in done.stdout
    assert run("--version").stdout.startswith("tcl-edge ")
