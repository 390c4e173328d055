"""What all commands have in common: where they say what happens, and the exit code that they end with.

    0                  done
    1                  failed, or something was skipped
    2                  what was asked for cannot be; also what Typer says of options that it does not know
    130, 143, 129      stopped by SIGINT, SIGTERM, SIGHUP

Whether it is 1 or 2 the type of the error says (`runtime/errors.py`), not the command.
"""

import re
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from types import FrameType
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperCommand

from runtime.errors import TclEdgeError, UsageError

FAILED, WRONG_USAGE, STOPPED = 1, 2, 128  # the last plus the number of the signal

console = Console(stderr=True, highlight=False)

ENTRANCE = re.compile(r"(:/{1,2})(?!USER:)[^\s\"'<>/][^\s\"'<>]*@")
"""Who may enter, in an address: errors of sources hide it themselves, but one may stand where none is expected."""


class Command(TyperCommand):
    """A command that may raise the errors of this package: they become a line and an exit code."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run the command."""
        _print_anything()
        asked: list[int] = []
        try:
            with _ending_by_signals(asked), _warnings_as_lines():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(STOPPED + signal.SIGINT) from None
        except Exception as error:
            if asked:  # a native module that a signal hits while it is imported makes an ImportError of it
                raise typer.Exit(STOPPED + asked[0]) from None
            if not isinstance(error, TclEdgeError | OSError):
                raise
            fail(error)


def _print_anything() -> None:
    """Let names be printed that the terminal has no characters for, or that are no text at all."""
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, TextIOWrapper):
            output.reconfigure(errors="backslashreplace")


@contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Tell warnings as the commands tell everything else, without the place in the code."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: console.print(
            Text.assemble(("warning: ", "bold yellow"), str(message)), soft_wrap=True
        )
        yield


def fail(error: Exception) -> NoReturn:
    """Say what went wrong and end the command."""
    told = ENTRANCE.sub(r"\1***@", str(error))
    console.print(Text.assemble(("error: ", "bold red"), told), soft_wrap=True)
    raise typer.Exit(WRONG_USAGE if isinstance(error, UsageError | FileNotFoundError) else FAILED) from None


def stop_signals() -> list[signal.Signals]:
    """List the signals that ask a program to end, without those that whoever started it has turned off."""
    known = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    return [number for number in known if signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def _ending_by_signals(asked: list[int]) -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind as Ctrl-C does, so that what is open is closed and nothing half-written stays.

    Args:
        asked: gets the number of a signal that came.
    """

    def end(number: int, _: FrameType | None) -> NoReturn:
        asked.append(number)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(STOPPED + number)

    before = {number: signal.signal(number, end) for number in stop_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
