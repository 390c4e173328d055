"""The command that makes the table: `python -m tcl_core.evaluate table --weights DIR --data DIR --report OUT`."""

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table as Printed

from tcl_core.atomic_file import write_together
from tcl_core.commands import FAILED, Overwrite, console, counting
from tcl_core.errors import ConfigError, DataConfigError
from tcl_core.evaluate.layouts import KEYS, LAYOUTS, layout_of
from tcl_core.evaluate.protocol import overridden
from tcl_core.evaluate.protocols import TCL
from tcl_core.evaluate.published import published
from tcl_core.evaluate.runs_page import Run, Section, cell, markdown, page_of, parts_of, table_row
from tcl_core.table.run import Cell, Table, found_benchmarks, measure_all

WIDTH = 110
"""Characters of the printed table, at least: a narrower terminal would cut figures off."""


def table(
    weights: Annotated[
        Path, typer.Option(help="Folder of the authors' files, named as they name them; bundles *.tclb in it, too.")
    ],
    data: Annotated[Path, typer.Option(help="Folder of VOCdevkit/, coco_stuff164k/, cityscapes/, ade/.")],
    report: Annotated[
        Path, typer.Option(help="Folder for report.html, report.json, table.md, and results/ of every measurement.")
    ],
    row: Annotated[list[str] | None, typer.Option(help="Measure this row only. May be repeated.")] = None,
    benchmark: Annotated[
        list[str] | None, typer.Option(help=f"Measure on this one only, of {', '.join(KEYS)}. May be repeated.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Take so many pictures of each, evenly spread.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting of every row's protocol, like window=224. May be repeated."),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Windows at once; only speed and memory depend on it.")] = 1,
    num_pictures: Annotated[
        int, typer.Option("--pictures", min=0, help="Pictures to show, of each benchmark and kind.")
    ] = 1,
    overwrite: Overwrite = False,
) -> None:
    """Measure every system of the paper's table whose weights are at hand, and ours, on the benchmarks that are there.

    A run that was stopped goes on: what was measured with the same weights, settings and data is not measured again.
    Ends with 1 if weights were refused.
    """
    from tcl_core.table.baseline_rows import baseline_rows  # open_clip takes seconds to import
    from tcl_core.table.rows import own_rows

    for folder, what in ((weights, "--weights"), (data, "--data")):
        if not folder.is_dir():
            raise ConfigError(f"no folder {folder}: expected one for {what}")
    overridden(TCL, settings or ())  # mistakes are told before anything is read
    given = settings or ()
    rows = (*baseline_rows(weights, report / "reco", given, batch), *own_rows(weights, given, batch))
    if strange := [name for name in row or () if name not in {each.name for each in rows}]:
        raise ConfigError(f"no row {strange[0]!r}: expected one of {', '.join(each.name for each in rows)}")
    wanted = [layout_of(key).key for key in benchmark] if benchmark else list(LAYOUTS)
    benchmarks, absent = found_benchmarks(data, wanted, limit)
    for key, how in absent.items():
        console.print(f"{key} is not in {data}: expected {how}", markup=False, soft_wrap=True)
    if not benchmarks:
        raise DataConfigError(f"none of {', '.join(wanted)} is in {data}: see above for where they come from")
    kept = Table(report, overwrite=overwrite, tell=lambda line: console.print(line, markup=False, soft_wrap=True))
    with counting() as bars:
        task = bars.add_task("", total=None)
        cells = measure_all(
            kept,
            [each for each in rows if not row or each.name in row],
            benchmarks,
            lambda what, done, total: bars.update(task, description=what, completed=done, total=total),
        )
    sections = _sections(cells)
    skipped = _skipped(cells, absent)
    for line in skipped:
        console.print(line, markup=False, soft_wrap=True)
    command = shlex.join(sys.argv[1:])
    write_together(
        {
            report / "report.json": _summary(cells, sections, absent, command, report).encode(),
            report / "table.md": markdown(sections).encode(),
            report / "report.html": page_of(sections, command, skipped, num_pictures).encode(),
        }
    )
    _print(sections)
    for part in parts_of(sections):
        console.print(f"not the paper's figures, of {part}", markup=False, soft_wrap=True)
    console.print(f"wrote {report / 'report.html'}, report.json and table.md", markup=False, soft_wrap=True)
    if any(each.is_refused for each in cells):
        raise typer.Exit(FAILED)


def _sections(cells: Sequence[Cell]) -> list[Section]:
    sections = []
    for benchmark in dict.fromkeys(each.benchmark for each in cells):
        runs = tuple(
            Run(each.row, each.record, each.labels)
            for each in cells
            if each.benchmark is benchmark and each.record is not None and each.labels is not None
        )
        if runs:
            sections.append(Section(benchmark, runs))
    return sections


def _skipped(cells: Sequence[Cell], absent: dict[str, str]) -> list[str]:
    """A line for each reason; a row that lacks the same everywhere has one."""
    told: dict[str, list[str]] = {}
    for each in cells:
        if each.record is None:
            told.setdefault(
                f"{each.row} {'was refused' if each.is_refused else 'is not measured'}: {each.reason}", []
            ).append(each.benchmark.name)
    everywhere = len(dict.fromkeys(each.benchmark for each in cells))
    lines = [
        reason if len(where) == everywhere else f"on {', '.join(where)}: {reason}" for reason, where in told.items()
    ]
    return [*lines, *(f"{key} is not there: expected {how}" for key, how in absent.items())]


def _summary(
    cells: Sequence[Cell], sections: Sequence[Section], absent: dict[str, str], command: str, report: Path
) -> str:
    results: list[dict[str, Any]] = []
    for each in cells:
        entry: dict[str, Any] = {
            "row": each.row,
            "benchmark": each.benchmark.name,
            "paper_mean_iou_percent": published().of(each.row, each.benchmark.name),
        }
        if each.record is None:
            entry |= {"refused" if each.is_refused else "missing": each.reason}
        else:
            figures = each.record.figures
            entry |= {
                "file": each.record.path.relative_to(report).as_posix(),
                "num_pictures": figures["num_pictures"],
                "all_pictures": figures["all_pictures"],
                **{key: value for key, value in figures["benchmark"].items() if key not in ("iou", "accuracy")},
                "protocol": figures["protocol"],
                "system": figures["system"],
                "fingerprint": figures["fingerprint"],
            }
        results.append(entry)
    names = dict.fromkeys(run.name for section in sections for run in section.runs)
    averages = {name: table_row(name, sections)["average"] for name in names}
    summary = {
        "command": command,
        "source_of_the_papers_figures": published().source,
        "notes": dict(published().notes),
        "missing_benchmarks": absent,
        "averages_percent": averages,
        "results": results,
    }
    return json.dumps(summary, indent=2, ensure_ascii=False) + "\n"


def _print(sections: Sequence[Section]) -> None:
    """Print figures, and the paper's below them: a line each, wide enough for every column."""
    shown = [layout_of(section.benchmark.name) for section in sections]
    printed = Printed("mIoU", *(layout.title for layout in shown), "average", box=box.SIMPLE_HEAD)
    for name in dict.fromkeys(run.name for section in sections for run in section.runs):
        row = table_row(name, sections)
        own, paper = (dict(zip(LAYOUTS, row[which], strict=True)) for which in ("own", "paper"))
        printed.add_row(name, *(cell(own[layout.key], None) for layout in shown), cell(row["average"], None))
        if any(value is not None for value in paper.values()):
            figures = (cell(paper[layout.key], None) for layout in shown)
            printed.add_row("  in the paper", *figures, cell(row["paper_average"], None), style="dim")
    output = Console(highlight=False)
    output.width = max(output.width, WIDTH)
    output.print(printed)


__all__ = ["table"]
