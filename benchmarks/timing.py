"""Taking turns: how the benchmarks beside this file measure."""

import argparse
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

Call = Callable[[], object]

BUDGET_S = 1.5
"""Seconds for all turns of one contender."""


def measure(calls: Mapping[str, Call], turns: int) -> dict[str, np.ndarray]:
    """Give the milliseconds of processor time of each turn.

    All contenders take turns, so that a busy machine disturbs all alike. The first turn warms up and tells how many
    more fit into the budget; of what takes over a second, it is the only one.
    """
    taken: dict[str, list[float]] = {name: [] for name in calls}
    allowed = dict.fromkeys(calls, turns)
    for turn in range(turns + 1):
        for name, call in calls.items():
            if turn > allowed[name]:
                continue
            begin = time.process_time()
            call()
            seconds = time.process_time() - begin
            taken[name].append(1000 * seconds)
            if turn == 0:
                allowed[name] = 0 if seconds > 1 else max(min(turns, int(BUDGET_S / max(seconds, 1e-6))), 1)
    return {name: np.array(times[1:] or times) for name, times in taken.items()}


def cell(times: np.ndarray) -> str:
    """Median and, in brackets, the middle half."""
    if len(times) == 1:
        return f"{times[0]:.2f} (once)"
    low, middle, high = np.percentile(times, [25, 50, 75])
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"


def processor() -> str:
    """Name of this machine's processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """Make the command line of a benchmark that has a report."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help="write the report into it, as docs/benchmarks; default: print it"
    )
    return parser


def report(folder: Path | None, name: str, text: str) -> None:
    """Write a report into a folder, or print it."""
    if folder is None:
        print(text)
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    print(f"wrote {folder / name}")
