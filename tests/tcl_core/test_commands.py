"""What every command has in common. Oracles: exit codes by hand; a real process with real signals."""

import importlib
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tcl_core.commands import Command, refuse_existing
from tcl_core.errors import (
    CheckpointError,
    ConfigError,
    DataConfigError,
    DataError,
    TrainingError,
    UnsafePickleError,
    WriteError,
)

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("x"), 2),
        (DataConfigError("x"), 2),
        (ValueError("x"), 2),
        (FileNotFoundError("x"), 2),
        (DataError("x"), 1),
        (CheckpointError("x"), 1),
        (UnsafePickleError("x"), 1),
        (TrainingError("x"), 1),
        (WriteError(Path("x"), "No space left on device"), 1),
        (OSError("x"), 1),
    ],
)
def test_the_type_of_an_error_says_the_code(error: Exception, code: int) -> None:
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command(cls=Command)
    def command() -> None:
        raise error

    result = CliRunner().invoke(app, [])
    assert result.exit_code == code
    assert f"error: {error}" in result.stderr


def test_a_mistake_of_ours_is_not_hidden() -> None:
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command(cls=Command)
    def command() -> None:
        raise ZeroDivisionError

    assert isinstance(CliRunner().invoke(app, []).exception, ZeroDivisionError)


WAIT = """
import time, typer
from tcl_core.commands import Command, refuse_existing
app = typer.Typer()
@app.command(cls=Command)
def command() -> None:
    try:
        print("begun", flush=True)
        time.sleep(60)
    finally: print("closed", flush=True)
app()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_closes_what_is_open(number: signal.Signals) -> None:
    # Whoever starts the tests in the background has signals ignored, and children inherit that.
    listen = partial(signal.signal, number, signal.SIG_DFL)
    command = [sys.executable, "-c", WAIT]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, preexec_fn=listen) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        said, _ = process.communicate(timeout=60)
    assert said == "closed\n"
    assert process.returncode == 128 + number


def test_a_signal_that_is_ignored_stays_so() -> None:
    """As under nohup: the terminal closes, and the command goes on until it is told otherwise."""
    ignore = partial(signal.signal, signal.SIGHUP, signal.SIG_IGN)
    command = [sys.executable, "-c", WAIT]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, preexec_fn=ignore) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM


def test_results_that_are_there_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "old.json").touch()
    (tmp_path / "dangling.json").symlink_to("nowhere")
    for name in ("old.json", "dangling.json"):
        with pytest.raises(ConfigError, match=rf"{name} exists: .*--overwrite"):
            refuse_existing(tmp_path / "new.json", tmp_path / name, overwrite=False)
        refuse_existing(tmp_path / name, overwrite=True)


@pytest.mark.parametrize(
    ("arguments", "result"),
    [
        (["predict", "tiny", "a.png", "--classes", "car", "--output", "out"], "labels.png"),
        (["evaluate", "tiny", "--data", "data", "--report", "out"], "report.html"),
        (["hub", "last.safetensors", "out"], "config.json"),
        (["align", str(ROOT / "configs/align_tiny.yaml"), "output=out/tiny.safetensors"], "tiny.safetensors"),
    ],
)
def test_every_command_refuses_before_it_works(
    arguments: list[str], result: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of the inputs is there: had the work begun, that would be the message."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / result).write_text("an earlier result")
    name = {"evaluate": "evaluate.__main__", "hub": "train.hub", "align": "align.__main__"}.get(
        arguments[0], arguments[0]
    )
    done = CliRunner().invoke(importlib.import_module(f"tcl_core.{name}").app, arguments[1:])
    assert done.exit_code == 2
    assert f"out/{result} exists: choose another place, or add --overwrite" in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == [result]
