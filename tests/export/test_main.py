"""`python -m export` as a user runs it. Oracle: the command that it prints is run, and its files are read back."""

import os
import shlex
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import Result
from rich.console import Console
from typer.testing import CliRunner

from export.__main__ import app, default_output
from runtime import Segmenter
from tcl_core.load.choice import ModelChoice
from tcl_core.train.__main__ import read_config, train

ROOT = Path(__file__).parents[2]
Limit = Callable[[int], AbstractContextManager[None]]


def run(command: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture
def export(tmp_path: Path, cache_home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command with the folder of the test as the current one; in this process, which has PyTorch already."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache_home))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # which the command replaces
    runner = CliRunner()
    return lambda *arguments: runner.invoke(app, [*map(str, arguments)])


@pytest.mark.slow
def test_the_printed_command_works(export: Callable[..., Result], tmp_path: Path) -> None:
    """Small pictures: most of an export is tracing, which takes half as long where their size is fixed.

    The commands of README are run with the same size, so that one trace serves both.
    """
    options = ["--model", "tiny", "--classes", "person, bicycle, road", "--fp16", "--imgsz", "64,96"]
    done = export(*options, "--output", "my b.tclb", "--triton", "m")
    assert done.exit_code == 0, done.stderr
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
        (["--output", "file/b.tclb"], "/file is no folder: choose another --output"),
        (["--output", "old.tclb"], "old.tclb exists and is not a bundle: choose another --output"),
        (["--output", "b.tclb", "--model", "tinny"], "no model 'tinny': did you mean tiny"),
        (["--output", "b.tclb", "--model", "tiny.pt"], "no file tiny.pt"),
        (["--output", "b.tclb", "--imgsz", "4k"], "--imgsz 4k given, expected a side like 448"),
        (["--output", "b.tclb", "--imgsz", "100"], "takes multiples of 32"),
        (["--output", "b.tclb", "--half", "--int8"], "fp16 and int8 given: choose one precision"),
        (["--output", "b.tclb", "--dtype", "int8"], "--int8 needs --calib FOLDER"),
        (["--output", "b.tclb", "--classes", "cat, cat"], "'cat' is given twice"),
    ],
)
def test_bad_arguments_are_explained_and_write_nothing(
    arguments: list[str], message: str, export: Callable[..., Result], tmp_path: Path
) -> None:
    (tmp_path / "old.tclb").mkdir()
    (tmp_path / "file").touch()
    done = export(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "old.tclb"]


@pytest.mark.skipif(find_spec("tensorrt") is not None, reason="TensorRT is installed here")
def test_an_engine_that_cannot_be_built_is_refused_before_the_export(
    export: Callable[..., Result], tmp_path: Path
) -> None:
    done = export("--output", "b.tclb", "--tensorrt")
    assert done.exit_code == 1
    assert "needs the package tensorrt" in done.stderr
    assert "copy it to the device, and build the engine there with `python -m runtime engine NAME.tclb`" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_help_has_examples(export: Callable[..., Result]) -> None:
    done = export("--help")
    assert done.exit_code == 0
    assert 'python -m export --model tiny --classes "person, bicycle, road"' in done.stdout


@pytest.fixture
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that is traced in a second: random towers, a grounder without decoder."""
    output = tmp_path_factory.mktemp("toy")
    settings = ["model.toy_steps=0", "model.decoder=false", "steps=1", "data.batch_size=8", "data.part_size=8"]
    off = ["validation=null", "tensorboard=false"]
    config = read_config([str(ROOT / "configs" / "toy.yaml"), *settings, *off, f"output={output}"])
    train(config, console=Console(quiet=True))
    return output / "model"


def test_an_interrupted_export_leaves_nothing_and_goes_on_where_it_was(
    toy: Path,
    export: Callable[..., Result],
    files_no_longer_than: Limit,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Oracle: Ctrl-C while the segmenter is traced; then the same command again, which reuses the text encoder."""
    work, cache = tmp_path / "work", tmp_path / "cache"
    work.mkdir()
    monkeypatch.chdir(work)
    options = ["--model", str(toy), "--imgsz", "48,64", "--output", "b.tclb", "--cache-dir", str(cache)]
    command = [sys.executable, "-m", "export", *options]
    # Whoever starts the tests in the background has interrupts ignored, and children inherit that.
    listen = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, cwd=work, stderr=subprocess.PIPE, text=True, preexec_fn=listen) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("encoding the words: done"):
                process.send_signal(signal.SIGINT)
                break
        said = process.stderr.read()
        assert process.wait(timeout=120) == 130, said
    assert "interrupted: nothing was written" in said
    assert list(work.iterdir()) == []
    kept = list(cache.iterdir())
    assert [path.suffix for path in kept] == [".stage"]
    kept[0].write_bytes(kept[0].read_bytes()[:-1] + b"?")
    again = export(*options, "--atol", "1e-12")
    assert again.exit_code == 1
    assert "tracing the text encoder: done again: what was kept of it is damaged" in again.stderr
    assert "the exported graph differs from PyTorch" in again.stderr
    assert "Worst tensors, in the order of computation" in again.stderr
    assert list(work.iterdir()) == []
    last = export(*options)
    assert last.exit_code == 0, last.stderr
    for stage in ("tracing the text encoder", "tracing the segmenter", "counting operations"):
        assert f"{stage}: reused: nothing it depends on has changed" in last.stderr
    assert "GMAC in the graph" in last.stdout
    names = Segmenter("b.tclb").names
    with files_no_longer_than(10_000):
        full = export(*options, "--overwrite", "--classes", "red circle")
    assert full.exit_code == 1
    assert "b.tclb cannot be written (File too large): make room there" in full.stderr
    assert [path.name for path in work.iterdir()] == ["b.tclb"]
    assert Segmenter("b.tclb").names == names != ("background", "red circle")  # the one before


def test_a_cache_that_is_not_wanted_is_not_made(
    toy: Path, export: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oracle: the same command without the option, which fails at the same word after it traced the text encoder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    command = ["--model", str(toy), "--output", "b.tclb", "--classes", "submarine"]
    for options, kept in ((["--no-cache"], 0), ([], 1)):
        done = export(*command, *options)
        assert "submarine" in done.stderr
        assert not (tmp_path / "b.tclb").exists()
        assert len(list((tmp_path / "cache").rglob("*.stage"))) == kept


@pytest.mark.parametrize(
    ("choice", "precision", "name"),
    [
        (ModelChoice(), "fp16", "tiny-fp16.tclb"),
        (ModelChoice(), "fp32", "tiny.tclb"),
        (ModelChoice("ViT-B-16", head="naclip"), "int8", "ViT-B-16-naclip-int8.tclb"),
        (ModelChoice("hf-hub:owner/model.v2"), "fp32", "hf-hub-owner-model.v2.tclb"),
    ],
)
def test_a_bundle_is_named_after_what_is_in_it(choice: ModelChoice, precision: str, name: str) -> None:
    assert default_output(choice, precision) == Path(name)
