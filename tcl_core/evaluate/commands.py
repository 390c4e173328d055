"""The commands around data: is it there and whole, and how masks are made of raw downloads."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tcl_core.commands import Command, Overwrite, console, counting
from tcl_core.errors import DataConfigError
from tcl_core.evaluate.converters import convert
from tcl_core.evaluate.layouts import KEYS, LAYOUTS, Layout, layout_of
from tcl_core.evaluate.verify import Verdict, verify

NUM_SHOWN = 10


def add_data_commands(app: typer.Typer) -> None:
    """Add `data` and `convert` to a group of commands."""
    app.command("data", cls=Command)(data)
    app.command("convert", cls=Command)(convert_masks)


def data(
    directory: Annotated[
        Path, typer.Argument(help="Folder of VOCdevkit/, coco_stuff164k/, cityscapes/, ade/.", metavar="DIR")
    ],
    benchmark: Annotated[
        list[str] | None, typer.Option(help=f"Look at this one only; may be repeated. One of {', '.join(KEYS)}.")
    ] = None,
) -> None:
    """Say which benchmarks are there and whole, what is wrong with files, and how to get what is missing.

    Looks at every picture and mask: numbers, names, label values, sizes, turned pictures. Ends with 1 if anything that
    is there is wrong, with 2 if there is nothing, or not what was asked for.
    """
    layouts = [layout_of(key) for key in benchmark] if benchmark else list(LAYOUTS.values())
    verdicts = []
    output = Console(highlight=False)
    for layout in layouts:
        verdict = _verified(layout, directory)
        verdicts.append(verdict)
        _print(output, verdict)
    missing = [verdict.layout.key for verdict in verdicts if verdict.missing is not None]
    if any(verdict.problems for verdict in verdicts):
        raise typer.Exit(1)
    if len(missing) == len(verdicts) or (benchmark and missing):
        raise DataConfigError(f"{', '.join(missing)} not in {directory}: see above for where they come from")


def _verified(layout: Layout, directory: Path) -> Verdict:
    with counting() as bars:
        task = bars.add_task(layout.key, total=None)
        return verify(layout, directory, lambda done, total: bars.update(task, completed=done, total=total))


def _print(output: Console, verdict: Verdict) -> None:
    state = "missing" if verdict.missing is not None else "wrong" if verdict.problems else "whole"
    counted = "" if verdict.missing is not None else f", {verdict.num_pictures} pictures in {verdict.root}"
    output.print(f"{verdict.layout.key}: {state}{counted}", markup=False, soft_wrap=True)
    if verdict.missing is not None:
        output.print(f"  {verdict.missing}", markup=False, soft_wrap=True)
    for problem in verdict.problems[:NUM_SHOWN]:
        output.print(f"  {problem}", markup=False, soft_wrap=True)
    if len(verdict.problems) > NUM_SHOWN:
        output.print(f"  and {len(verdict.problems) - NUM_SHOWN} more", markup=False)
    if verdict.is_whole and verdict.absent:
        output.print(f"  no mask shows {', '.join(verdict.absent)}", markup=False, soft_wrap=True)


def convert_masks(
    benchmark: Annotated[str, typer.Argument(help="coco_stuff, coco_object, context, context59 or cityscapes.")],
    raw: Annotated[
        Path,
        typer.Argument(
            help="Folder of the raw masks: val2017 of stuffthingmaps, the 459 labels of PASCAL-Context, gtFine.",
            metavar="RAW",
        ),
    ],
    directory: Annotated[
        Path, typer.Argument(help="Folder of all data; masks go below it, where they are looked for.", metavar="DIR")
    ],
    overwrite: Overwrite = False,
) -> None:
    """Make the masks that a benchmark counts from its raw download; goes on where it broke off."""
    with counting() as bars:
        task = bars.add_task("masks", total=None)
        done = convert(
            benchmark,
            raw,
            directory,
            overwrite=overwrite,
            progress=lambda done, total: bars.update(task, completed=done, total=total),
        )
    kept = f", {done.num_kept} were there (--overwrite makes them again)" if done.num_kept else ""
    console.print(f"wrote {done.num_written} masks into {done.folder}{kept}", markup=False, soft_wrap=True)


__all__ = ["add_data_commands"]
