"""One page for one or several runs: figures beside the paper's, classes, confusions, and pictures side by side."""

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from tcl_core.errors import DataError
from tcl_core.evaluate.benchmarks import Benchmark
from tcl_core.evaluate.layouts import LAYOUTS, layout_of
from tcl_core.evaluate.published import AVERAGE, published
from tcl_core.evaluate.records import Record
from tcl_core.evaluate.report import inline, painted, rendered
from tcl_core.pictures import open_picture, palette

NUM_CONFUSIONS = 5


@dataclass(frozen=True, eq=False)
class Run:
    """A system measured on a benchmark.

    Attributes:
        name: of the system.
        record: what was measured.
        labels: archive of its label maps, `PICTURE.png` with the background last.
    """

    name: str
    record: Record
    labels: Path


@dataclass(frozen=True, eq=False)
class Section:
    """A benchmark and all that was run on it."""

    benchmark: Benchmark
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Chosen:
    """A picture to look at.

    Attributes:
        index: in the benchmark.
        why: it was chosen.
    """

    index: int
    why: str


def page_of(sections: Sequence[Section], command: str, skipped: Sequence[str], num_pictures: int) -> str:
    """Make the page, self-contained.

    Args:
        sections: a benchmark each, one of the eight.
        command: that measured.
        skipped: what was not measured and why, a line each.
        num_pictures: to show of each benchmark and kind: best, median, worst, most different.

    Raises:
        DataError: a picture or its labels cannot be read.
    """
    names = list(dict.fromkeys(run.name for section in sections for run in section.runs))
    return rendered(
        "runs.html.jinja",
        command=command,
        skipped=list(skipped),
        parts=parts_of(sections),
        source=published().source,
        notes={name: note for name, note in published().notes.items() if name in names},
        titles=[layout.title for layout in LAYOUTS.values()],
        rows=[table_row(name, sections) for name in names],
        sections=[_section(section, num_pictures) for section in sections],
    )


def table_row(name: str, sections: Sequence[Section]) -> dict[str, Any]:
    """Say what a system reached on every benchmark, and the paper's figures: percent, None where there is none."""
    records = {section.benchmark.name: run.record for section in sections for run in section.runs if run.name == name}
    own = {key: None if key not in records else _percent(records[key].mean_iou) for key in LAYOUTS}
    known = [value for value in own.values() if value is not None]
    return {
        "name": name,
        "own": list(own.values()),
        "paper": [published().of(name, key) for key in LAYOUTS],
        "average": round(mean(known), 2) if len(known) == len(LAYOUTS) and not parts_of(sections) else None,
        "paper_average": published().of(name, AVERAGE),
    }


def parts_of(sections: Sequence[Section]) -> list[str]:
    """Say which benchmarks are measured in part: their figures are not to be held against the paper's."""
    counted = [
        (section.benchmark.name, len(section.benchmark.pictures), layout_of(section.benchmark.name).counts)
        for section in sections
    ]
    return [
        f"{name}: {count} pictures of {' or '.join(map(str, counts))}"
        for name, count, counts in counted
        if count not in counts
    ]


def _percent(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 2)


def choose(accuracies: Sequence[Sequence[float]], count: int) -> list[Chosen]:
    """Choose pictures by a rule: best, median and worst of the systems' mean accuracy, and where they differ most.

    Args:
        accuracies: of every system, of every picture; NaN for one without labels, which is never chosen.
        count: of each kind; a picture is shown once.
    """
    table = np.array(accuracies, np.float64)
    known = [int(index) for index in np.flatnonzero(~np.isnan(table).any(axis=0))]
    by_mean = sorted(known, key=lambda index: (-table[:, index].mean(), index))
    middle = max((len(by_mean) - count) // 2, 0)
    spread = table.max(axis=0) - table.min(axis=0)
    kinds = [
        ("best", by_mean[:count]),
        ("median", by_mean[middle : middle + count]),
        ("worst", by_mean[::-1][:count]),
    ]
    if len(table) > 1:
        kinds.append(("most different", sorted(known, key=lambda index: (-spread[index], index))[:count]))
    reasons: dict[int, list[str]] = {}
    for kind, indices in kinds:
        for index in indices:
            reasons.setdefault(index, []).append(kind)
    return [Chosen(index, ", ".join(whys)) for index, whys in reasons.items()]


def _section(section: Section, num_pictures: int) -> dict[str, Any]:
    benchmark, runs = section.benchmark, section.runs
    accuracies = [_accuracies(run.record) for run in runs]
    chosen = choose(accuracies, num_pictures) if num_pictures else []
    return {
        "title": benchmark.name,
        "num_pictures": len(benchmark.pictures),
        "runs": [
            {
                "name": run.name,
                "paper": published().of(run.name, benchmark.name),
                "figures": run.record.figures["benchmark"],
                "seconds": run.record.figures["seconds_per_picture"],
                "recipe": _recipe(run.record),
                "confusions": run.record.figures["confusions"][:NUM_CONFUSIONS],
            }
            for run in runs
        ],
        "classes": [
            {"name": name, "ious": [run.record.figures["benchmark"]["iou"].get(name) for run in runs]}
            for name in benchmark.names
        ],
        "pictures": [_picture(section, picked, [row[picked.index] for row in accuracies]) for picked in chosen],
    }


def _recipe(record: Record) -> dict[str, str]:
    parts = {**record.figures["protocol"], **record.figures.get("system", {})}
    files = {name: f"{digest[:12]}…" for name, digest in record.figures.get("files", {}).items()}
    return {key: str(value) for key, value in {**parts, **files}.items()}


def _accuracies(record: Record) -> list[float]:
    """Share of right pixels of every picture, in the setting that papers report."""
    counts = record.counts
    shares: list[float] = (counts.intersection.sum(dim=1).double() / counts.label.sum(dim=1)).tolist()
    return shares


def _picture(section: Section, chosen: Chosen, accuracies: Sequence[float]) -> dict[str, Any]:
    benchmark = section.benchmark
    picture = benchmark.pictures[chosen.index]
    image, truth = open_picture(picture.image), benchmark.truth(picture)
    colours = palette(len(benchmark.words) + 1)[1:]
    found = [labels_of(run, picture.name) for run in section.runs]
    seen = np.unique(np.concatenate([labels.ravel() for labels in (truth, *found)]))
    return {
        "name": picture.name,
        "why": chosen.why,
        "image": inline(image),
        "truth": inline(painted(image, truth, colours)),
        "found": [
            {"name": run.name, "accuracy": accuracy, "image": inline(painted(image, labels, colours))}
            for run, labels, accuracy in zip(section.runs, found, accuracies, strict=True)
        ],
        "legend": [
            {"name": benchmark.words[label].name, "colour": "rgb({}, {}, {})".format(*colours[label])}
            for label in map(int, seen)
            if label < len(colours)
        ],
    }


def labels_of(run: Run, name: str) -> npt.NDArray[np.uint8]:
    """Read the label map of a picture: (H,W), class, the background last.

    Raises:
        DataError: it is not there, or cannot be read.
    """
    try:
        with zipfile.ZipFile(run.labels) as file, Image.open(io.BytesIO(file.read(f"{name}.png"))) as image:
            return np.asarray(image, np.uint8)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{run.labels} has no label map of {name} ({error}): delete it, and measure again") from error


def markdown(sections: Sequence[Section]) -> str:
    """Write a Markdown table, a row a system; the paper's figures in brackets."""
    names = list(dict.fromkeys(run.name for section in sections for run in section.runs))
    lines = [
        f"| mIoU | {' | '.join(layout.title for layout in LAYOUTS.values())} | average |",
        "|---" * (len(LAYOUTS) + 2) + "|",
    ]
    for row in (table_row(name, sections) for name in names):
        pairs = [*zip(row["own"], row["paper"], strict=True), (row["average"], row["paper_average"])]
        name = row["name"].replace("|", "\\|")
        lines.append(f"| {name} | {' | '.join(cell(own, paper) for own, paper in pairs)} |")
    return "\n".join([*lines, *(f"\nOf a part: {part}" for part in parts_of(sections))]) + "\n"


def cell(own: float | None, paper: float | None) -> str:
    """Write a figure, and the paper's in brackets."""
    shown = "–" if own is None else f"{own:.1f}"
    return shown if paper is None else f"{shown} ({paper:.1f})"


__all__ = ["Chosen", "Run", "Section", "cell", "choose", "labels_of", "markdown", "page_of", "parts_of", "table_row"]
