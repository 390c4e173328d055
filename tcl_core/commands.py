"""What all commands have in common: where they say what happens, and the exit code that they end with.

    0                  done
    1                  failed
    2                  what was asked for cannot be; also what Typer says of options that it does not know
    130, 143, 129      stopped by SIGINT, SIGTERM, SIGHUP

Whether it is 1 or 2 the type of the error says (`tcl_core/errors.py`), not the command.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text
from typer.core import TyperCommand

from tcl_core.errors import ConfigError, TclCoreError

FAILED, WRONG_USAGE, STOPPED = 1, 2, 128  # the last plus the number of the signal

console = Console(stderr=True, highlight=False)


class Command(TyperCommand):
    """A command that may raise the errors of this package: they become a line and an exit code."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run the command."""
        try:
            with _ending_by_signals():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(STOPPED + signal.SIGINT) from None
        except (TclCoreError, ValueError, OSError) as error:
            console.print(Text.assemble(("error: ", "bold red"), str(error)), soft_wrap=True)
            raise typer.Exit(exit_code(error)) from None


def new_app() -> typer.Typer:
    """Make what a command is registered with, by `@app.command(cls=Command, ...)`."""
    return typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace results that are there.")]


def refuse_existing(*paths: Path, overwrite: bool) -> None:
    """Refuse, before any work is done, to write over what is there.

    Raises:
        ConfigError: one of the paths is there, and `overwrite` is not given.
    """
    for path in paths:
        if os.path.lexists(path) and not overwrite:
            raise ConfigError(f"{path} exists: choose another place, or add --overwrite to replace it")


def exit_code(error: Exception) -> int:
    """Tell what was asked for wrongly from what failed; of errors from elsewhere by what Python means by them."""
    wrong = ConfigError if isinstance(error, TclCoreError) else (ValueError, FileNotFoundError)
    return WRONG_USAGE if isinstance(error, wrong) else FAILED


def counting(*columns: ProgressColumn, shown_on: Console = console, transient: bool = True) -> Progress:
    """Make a progress bar that counts; further columns stand before the time that is left."""
    first = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*first, *columns, TimeRemainingColumn(), console=shown_on, transient=transient)


@contextmanager
def _ending_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind as Ctrl-C does, so that nothing half-written stays; not where they are ignored."""

    def end(number: int, _: FrameType | None) -> NoReturn:
        raise SystemExit(STOPPED + number)

    known = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, end) for number in known if signal.getsignal(number) is not signal.SIG_IGN}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
