"""`python -m export` as a user runs it. Oracle: the command that it prints is run, and its files are read back."""

import os
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest


def run(command: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=300)


def export(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run([sys.executable, "-m", "export", *arguments], cwd)


@pytest.mark.slow
def test_the_printed_command_works(tmp_path: Path) -> None:
    words = "person, bicycle, road"
    done = export(
        "--model", "tiny", "--classes", words, "--output", "my b.tclb", "--fp16", "--triton", "m", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "same labels" in done.stdout
    assert (tmp_path / "m" / "my_b_segmenter" / "config.pbtxt").is_file()
    command = shlex.split(done.stdout.strip().splitlines()[-1])
    assert command[:3] == ["python", "-m", "runtime"]
    assert "my b.tclb" in command
    ran = run([sys.executable, *command[1:]], tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "120 frames" in ran.stdout
    assert (tmp_path / "out.mp4").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "b"], "b given, expected a directory name ending in .tclb"),
        (["--output", "old.tclb"], "old.tclb exists and is not a bundle: choose another --output"),
        (["--output", "b.tclb", "--model", "tinny"], "no model 'tinny': did you mean tiny?"),
        (["--output", "b.tclb", "--classes", "cat, cat"], "'cat' is given twice"),
    ],
)
def test_bad_arguments_are_explained_and_write_nothing(arguments: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "old.tclb").mkdir()
    done = export(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["old.tclb"]


@pytest.mark.skipif(find_spec("tensorrt") is not None, reason="TensorRT is installed here")
def test_an_engine_that_cannot_be_built_is_refused_before_the_export(tmp_path: Path) -> None:
    done = export("--output", "b.tclb", "--tensorrt", cwd=tmp_path)
    assert done.returncode == 1
    assert "needs the package tensorrt" in done.stderr
    assert "copy it to the device, and build the engine there with `python -m runtime engine NAME.tclb`" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_help_has_examples(tmp_path: Path) -> None:
    done = export("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert 'python -m export --model tiny --classes "person, bicycle, road"' in done.stdout
