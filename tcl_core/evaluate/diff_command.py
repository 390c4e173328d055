"""The command that compares two measurements: `python -m tcl_core.evaluate diff A.json B.json`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tcl_core.commands import Command
from tcl_core.evaluate.bootstrap import LEVEL, NUM_DRAWS
from tcl_core.evaluate.diff import Comparison, compare
from tcl_core.evaluate.records import Record

NUM_CLASSES = 10


def add_diff_command(app: typer.Typer) -> None:
    """Add `diff` to a group of commands."""
    app.command("diff", cls=Command)(diff)


def diff(
    first: Annotated[
        Path, typer.Argument(help="report.json of a measurement, or one below results/ of a table.", metavar="A.json")
    ],
    second: Annotated[Path, typer.Argument(help="Another.", metavar="B.json")],
) -> None:
    """Say which settings, names, files and versions of two measurements differ, and how the results do.

    The difference of mIoU is B minus A on the pictures that both have, with its interval from pictures drawn for both
    together.
    """
    one, other = Record.load(first), Record.load(second)
    _print(Console(highlight=False), one, other, compare(one, other))


def _print(output: Console, first: Record, second: Record, found: Comparison) -> None:
    def line(text: str) -> None:
        output.print(text, markup=False, soft_wrap=True)

    for kind in ("settings", "names", "files", "versions"):
        of_kind = [difference for difference in found.differences if difference.kind == kind]
        line(f"{kind}: {'the same' if not of_kind else ''}".rstrip())
        for difference in of_kind:
            line(f"  {difference}")
    line(f"mIoU: {_percent(first.mean_iou)} -> {_percent(second.mean_iou)}")
    if found.gain is None:
        line("  no difference is computed: the classes differ, so IoUs are not of the same things")
        return
    gain = found.gain.difference
    line(
        f"  on {found.num_common} common pictures {100 * gain.value:+.2f} ({LEVEL:.0%} of {NUM_DRAWS} draws: "
        f"{100 * gain.low:+.2f} to {100 * gain.high:+.2f}); B is better in {found.gain.share_above_zero:.1%} of them"
    )
    for name, before, after in found.classes[:NUM_CLASSES]:
        if before != after:
            line(f"  {name}: {_percent(before)} -> {_percent(after)}")


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{100 * share:.2f}"


__all__ = ["add_diff_command"]
