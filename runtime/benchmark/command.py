"""The command `python -m runtime benchmark`: a table for people, JSON for programs."""

import json
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from runtime.atomic_file import write_atomically
from runtime.benchmark.machine import Condition, Machine, describe_machine
from runtime.benchmark.measure import PERCENTILES, STAGES, WARM_UP, Measured, OpenEngine, Plan, measure, read_frames
from runtime.bundle import Bundle
from runtime.engines.choice import AUTO
from runtime.engines.open import open_chosen
from runtime.errors import UsageError
from runtime.sensors import Sensors
from runtime.sinks.output import Outputs

DEFAULT = "default"
"""In a list of options: what the stream takes when it is not told."""

JSON_SCHEMA = 1

BUSY = 0.25
"""Load a core, before anything is measured, from which on the figures are not the machine's alone."""


def numbers(text: str, option: str) -> tuple[int | None, ...]:
    """Read a list like `256,416`, or `default`.

    Raises:
        UsageError: it is none.
    """
    items = [item.strip() for item in text.split(",")]
    if not all(item == DEFAULT or re.fullmatch(r"\d{1,6}", item) for item in items):
        raise UsageError(f"{option} {text!r} given, expected numbers like 2,4, or {DEFAULT}")
    return tuple(dict.fromkeys(None if item == DEFAULT else int(item) for item in items))


def names(text: str) -> tuple[str | None, ...]:
    """Read a list like `none,pamr`, or `default`."""
    items = dict.fromkeys(item.strip() for item in text.split(","))
    return tuple(None if item == DEFAULT else item for item in items)


def plan_of(*, sizes: str, words: str, providers: str, threads: str, refine: str, frames: int) -> Plan:
    """Read what is to be measured from the options of the command.

    Raises:
        UsageError: one of them cannot be.
    """
    counts = [count for count in numbers(words, "--words") if count is not None]
    if not counts:
        raise UsageError(f"--words {words!r} given, expected numbers like 5,20")
    return Plan(
        providers=[AUTO if name is None else name for name in names(providers)],
        threads=numbers(threads, "--threads"),
        sizes=numbers(sizes, "--sizes"),
        refinements=names(refine),  # type: ignore[arg-type] # checked by the plan
        words=counts,
        frames=frames,
    )


def command_line(bundle: str, source: str, plan: Plan) -> str:
    """Write the command that measures the same again."""

    def listed(values: Sequence[object]) -> str:
        return ",".join(DEFAULT if value is None else str(value) for value in values)

    options = {
        "--sizes": listed(plan.sizes),
        "--words": listed(plan.words),
        "--providers": listed(plan.providers),
        "--threads": listed(plan.threads),
        "--refine": listed(plan.refinements),
        "--frames": str(plan.frames),
        "--source": source,
    }
    given = [part for option in options.items() for part in option]
    return shlex.join(["python", "-m", "runtime", "benchmark", bundle, *given])


def run(
    bundle: str,
    plan: Plan,
    *,
    source: str,
    output: str | None = None,
    overwrite: bool = False,
    console: Console,
    open_engine: OpenEngine = open_chosen,
) -> bool:
    """Measure, print the table, write the JSON. Stopped before its end, both hold what is measured until then.

    Args:
        bundle: name or path.
        plan: what is measured.
        source: of the frames.
        output: file for the JSON; `-` for standard output, then the table goes where everything else is told; None for
            no JSON.
        overwrite: whether a file that is there may be replaced.
        console: where everything but the results is told.
        open_engine: as `runtime.engines.open.open_chosen`.

    Returns:
        Whether nothing failed.

    Raises:
        TclEdgeError: bundle or source cannot be read, or nobody can measure that.
    """
    opened = Bundle.open(bundle)
    if output not in (None, "-"):
        Outputs([Path(source)], overwrite).claim(Path(output))
    frames = read_frames(source, plan.frames + WARM_UP)
    machine, sensors = describe_machine(), Sensors(every_s=0.0)
    before, rows, cases = Condition.of(sensors.read()), [], plan.cases()
    try:
        with _progress(len(cases) * (plan.frames + WARM_UP), console) as advance:
            for row in measure(opened, plan, frames, advance=advance, open_engine=open_engine):
                rows.append(row)
    finally:  # Ctrl-C included
        after = Condition.of(sensors.read())
        complete = len(rows) == len(cases)
        again = command_line(bundle, source, plan)
        height, width = frames[0].shape[:2]
        if rows:
            title = f"{opened.manifest.name}, frames of {width} x {height}, {plan.frames} each"
            _print(Console(stderr=output == "-", highlight=False), title, rows, machine, (before, after), again)
        if not complete:
            console.print(f"stopped after {len(rows)} of {len(cases)} combinations", soft_wrap=True)
        if output is not None:
            report = {
                "schema": JSON_SCHEMA,
                "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "command": again,
                "complete": complete,
                "bundle": _bundle(opened),
                "frame": {"source": source, "height": height, "width": width, "different": len(frames)},
                "machine": asdict(machine),
                "before": asdict(before),
                "after": asdict(after),
                "warm_up": WARM_UP,
                "results": [_result(row) for row in rows],
            }
            _write(output, json.dumps(report, indent=2) + "\n")
    return complete and not any(row.error for row in rows)


def _bundle(bundle: Bundle) -> dict[str, str]:
    manifest = bundle.manifest
    graph = manifest.segmenter
    return {"name": manifest.name, "segmenter_sha256": manifest.files[graph.file].sha256, "precision": graph.precision}


def _result(row: Measured) -> dict[str, Any]:
    return {
        "asked": asdict(row.case),
        "provider": None if row.choice is None else row.choice.provider,
        "refused": [] if row.choice is None else [list(refusal) for refusal in row.choice.refused],
        "size": row.size,
        "refinement": row.refinement,
        "rows": row.rows,
        "frames": row.frames,
        "fps": round(row.fps, 3),
        "ms": {
            stage: {f"p{percentile}": round(value, 4) for percentile, value in values.items()}
            for stage, values in row.stages_ms.items()
        },
        "error": row.error,
    }


def _write(output: str, text: str) -> None:
    if output == "-":
        Console(soft_wrap=True).out(text, end="", highlight=False)
    else:
        write_atomically(Path(output), text.encode())


@contextmanager
def _progress(total: int, console: Console) -> Iterator[Callable[[], None]]:
    columns = TextColumn("measuring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("measuring", total=total)
        yield lambda: progress.advance(task)


def _print(
    out: Console,
    title: str,
    rows: Sequence[Measured],
    machine: Machine,
    conditions: tuple[Condition, Condition],
    again: str,
) -> None:
    table = Table(
        title=f"{title}; milliseconds a frame",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for column in ("provider", "threads", "network", "refine", "words"):
        table.add_column(column, no_wrap=True)
    for column in ("", *STAGES, "fps"):
        table.add_column(column, justify="right", no_wrap=True)
    done = [(row, row.choice.provider, row.size) for row in rows if row.choice is not None and row.size is not None]
    for row, provider, (network_height, network_width) in done:
        threads = "all" if row.case.threads is None else str(row.case.threads)
        settings = [provider, threads, f"{network_width}x{network_height}", row.refinement, str(row.case.words)]
        for percentile in PERCENTILES:
            first, last = percentile == PERCENTILES[0], percentile == PERCENTILES[-1]
            cells = [f"{row.stages_ms[stage][percentile]:.1f}" for stage in STAGES]
            shown = settings if first else [""] * len(settings)
            table.add_row(*shown, f"p{percentile}", *cells, f"{row.fps:.1f}" if first else "", end_section=last)
    if done:
        out.print(table)
    failures = Counter((row.case.provider, row.error) for row in rows if row.error)
    for (provider, error), count in failures.items():
        told = f"{provider}, {count} of {len(rows)} combinations: {error}"
        out.print(Text.assemble(("failed: ", "bold red"), told), soft_wrap=True)
    for choice in dict.fromkeys(row.choice for row in rows if row.choice is not None and row.case.provider == AUTO):
        out.print(f"provider: {choice}", markup=False, soft_wrap=True)
    for line in _described(machine, *conditions):
        out.print(line, markup=False, soft_wrap=True, style="dim")
    out.print(f"again: {again}", markup=False, soft_wrap=True, style="dim")


def _described(machine: Machine, before: Condition, after: Condition) -> Iterator[str]:
    memory = "" if machine.memory_gb is None else f", {machine.memory_gb:.1f} GB"
    board = f"{machine.board}, " if machine.board else ""
    yield f"{board}{machine.processor}, {machine.cores} cores{memory}, {machine.gpu or 'no NVIDIA GPU'}"
    yield f"{machine.system}; {', '.join(f'{name} {version}' for name, version in machine.versions.items())}"
    told = []
    if before.load is not None:
        told.append(f"load before {before.load:.1f}")
    if before.temperature_c is not None and after.temperature_c is not None:
        told.append(f"{before.temperature_c:.0f} to {after.temperature_c:.0f} °C")
    if after.power_w is not None:
        told.append(f"{after.power_w:.1f} W")
    told += [f"throttled: {hint}" for hint in dict.fromkeys([*before.throttled, *after.throttled])]
    if told:
        yield "; ".join(told)
    if before.load is not None and before.load > BUSY * machine.cores:
        yield "others compute here, too: without them the figures would be better"
