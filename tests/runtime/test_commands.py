"""What every command has in common. Oracles: exit codes by hand; a real process with real signals."""

import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from runtime.commands import Command
from runtime.errors import (
    BundleCorruptError,
    BundleNotFoundError,
    EngineError,
    EngineOptionError,
    SinkNameError,
    SourceError,
    SourceNotFoundError,
    UsageError,
    VocabularyError,
    WordFileError,
    WriteError,
)

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 2),
        (BundleNotFoundError("x"), 2),
        (VocabularyError("x"), 2),
        (EngineOptionError("x"), 2),
        (SourceNotFoundError("x"), 2),
        (SinkNameError("x"), 2),
        (FileNotFoundError("x"), 2),
        (BundleCorruptError("x"), 1),
        (WordFileError("x"), 1),
        (EngineError("x"), 1),
        (SourceError("x"), 1),
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
from runtime.commands import Command
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


SWALLOWED = """
import time, typer
from runtime.commands import Command
app = typer.Typer()
@app.command(cls=Command)
def command() -> None:
    try:
        print("begun", flush=True)
        time.sleep(60)
    except BaseException: raise ImportError("initialization failed")
app()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_a_native_module_swallows_still_says_the_code(number: signal.Signals) -> None:
    """As pybind11 does in `import onnxruntime`."""
    listen = partial(signal.signal, number, signal.SIG_DFL)
    command = [sys.executable, "-c", SWALLOWED]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, preexec_fn=listen, **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert said == ""


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


@pytest.mark.parametrize("address", ["rtsp://eve:secret@cam/a", "rtsp:/eve:sec@ret@cam:554/a", "http://secret@cam"])
def test_a_password_where_no_address_is_expected_is_shown_to_nobody(address: str) -> None:
    app = typer.Typer()

    @app.command(cls=Command)
    def run() -> None:
        raise UsageError(f"{address!r} given, expected 'SCHEME://USER:PASSWORD@HOST' or http://cam/a?b")

    said = CliRunner().invoke(app, env={"COLUMNS": "200"}).output
    assert "ret" not in said
    assert ":/***@cam" in said.replace("//", "/")
    assert said.endswith("expected 'SCHEME://USER:PASSWORD@HOST' or http://cam/a?b\n")
