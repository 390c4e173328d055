"""Every row on every benchmark, one measurement after the other; what is done stays done when a run is killed."""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from tcl_core.atomic_file import write_together
from tcl_core.errors import ConfigError, DataConfigError, WeightsError
from tcl_core.evaluate.benchmarks import Benchmark, LabelledPicture
from tcl_core.evaluate.digests import data_digest, digest_of, fingerprint_of, listing_digest
from tcl_core.evaluate.evaluation import evaluate
from tcl_core.evaluate.layouts import Key, Layout, layout_of, open_benchmark, root_of
from tcl_core.evaluate.records import Record, record_of
from tcl_core.table.rows import Row


@dataclass(frozen=True, eq=False)
class Cell:
    """A row on a benchmark.

    Attributes:
        row: name of the row.
        benchmark: measured on.
        record: what was measured; None if it was not.
        reason: why it was not.
        is_refused: whether weights or settings were refused, rather than missing.
        labels: archive of its label maps.
    """

    row: str
    benchmark: Benchmark
    record: Record | None = None
    reason: str = ""
    is_refused: bool = False
    labels: Path | None = None


@dataclass
class Digests:
    """Hashes of files and data, each computed once."""

    known: dict[Any, str] = field(default_factory=dict)

    def of(self, key: Any, compute: Callable[[], str]) -> str:
        """Look up, or compute."""
        if key not in self.known:
            self.known[key] = compute()
        return self.known[key]


def found_benchmarks(
    data: Path, keys: Sequence[Key], limit: int | None = None
) -> tuple[list[Benchmark], dict[str, str]]:
    """Open the benchmarks that are in a folder.

    Args:
        data: folder of all data.
        keys: which, in order.
        limit: pictures of each, at most, evenly spread.

    Returns:
        Those, and by key what is to be done about the others.

    Raises:
        DataError: one is there and damaged.
    """
    found: list[Benchmark] = []
    missing: dict[str, str] = {}
    for layout in map(layout_of, keys):
        if not _has_masks(layout, data):
            missing[layout.key] = layout.obtain
            continue
        try:
            benchmark = open_benchmark(data, layout.key)
        except DataConfigError as error:
            missing[layout.key] = str(error)
            continue
        found.append(benchmark if limit is None else benchmark.thinned(limit))
    return found, missing


def _has_masks(layout: Layout, data: Path) -> bool:
    root = root_of(layout, data)
    return any((root / layout.masks).rglob(f"*{layout.mask_suffix}")) and (root / layout.images).is_dir()


def recipe_of(row: Row, benchmark: Benchmark, digests: Digests) -> dict[str, Any]:
    """Say all that a figure depends on, before anything is loaded: weights, settings, data.

    Raises:
        ConfigError, DataError, ModelFileError: settings that cannot be, or files that cannot be read.
    """
    files = {name: digests.of(path, lambda path=path: digest_of(path)) for name, path in row.files.items()}  # type: ignore[misc]
    listed = {
        name: digests.of(path, lambda path=path: listing_digest(path))  # type: ignore[misc]
        for name, path in row.listed.items()
    }
    return {
        "row": row.name,
        "benchmark": benchmark.name,
        "files": {**files, **listed},
        "protocol": row.protocol(benchmark).settings(),
        "system": row.system(benchmark),
        "words": {word.name: list(word.synonyms) for word in benchmark.words},
        "data_sha256": digests.of(benchmark.name, lambda: data_digest(benchmark)),
    }


class Table:
    """Measurements below a folder, `results/ROW/BENCHMARK.json` with label maps beside.

    Args:
        out: the folder.
        overwrite: whether results of other weights, settings or data are replaced.
        tell: called with a line for the user.
    """

    def __init__(self, out: Path, *, overwrite: bool = False, tell: Callable[[str], None] = lambda _: None) -> None:
        self.out, self.overwrite, self.tell = out, overwrite, tell
        self.digests = Digests()

    def measure(self, row: Row, benchmark: Benchmark, progress: Callable[[int, int], None] | None = None) -> Cell:
        """Measure, or read what was measured with the same weights, settings and data.

        Args:
            row: which.
            benchmark: on what.
            progress: called with (pictures done, pictures in all).

        Raises:
            ConfigError: a result lies there that was made otherwise, and is not to be replaced.
            DataError: pictures or masks that cannot be read.
            WriteError: no room; what was there is intact.
        """
        if row.missing:
            return Cell(row.name, benchmark, reason="; ".join(row.missing))
        path = self.out / "results" / row.slug / f"{benchmark.name}.json"
        labels = path.with_suffix(".zip")
        try:
            recipe = recipe_of(row, benchmark, self.digests)
        except (WeightsError, ConfigError) as error:
            return Cell(row.name, benchmark, reason=str(error), is_refused=True)
        known = self._known(path, labels, recipe)
        if known is not None:
            return Cell(row.name, benchmark, known, labels=labels)
        try:
            built = row.build(benchmark)
        except (WeightsError, ConfigError) as error:
            return Cell(row.name, benchmark, reason=str(error), is_refused=True)
        self.tell(f"{row.name} on {benchmark.name}: {built.how}")
        maps = LabelMaps()
        evaluation = evaluate(built.segment, benchmark, progress, maps.add)
        archive = maps.archive()
        about = {
            "model": row.name,
            "how": built.how,
            "protocol": dict(built.protocol),
            "system": dict(built.system),
            "files": recipe["files"],
            "data_sha256": recipe["data_sha256"],
            "fingerprint": fingerprint_of(recipe),
            "recipe": recipe,
            "all_pictures": len(benchmark.pictures) in layout_of(benchmark.name).counts,
            "labels_sha256": hashlib.sha256(archive).hexdigest(),
        }
        record = record_of(evaluation, about)
        # The maps take their name first: whatever record is seen tells by its hash whether they are its own.
        write_together({labels: archive, path: json.dumps(record, ensure_ascii=False).encode() + b"\n"})
        return Cell(row.name, benchmark, Record.load(path), labels=labels)

    def _known(self, path: Path, labels: Path, recipe: Mapping[str, Any]) -> Record | None:
        if not path.is_file():
            return None
        record = Record.load(path)
        if record.figures.get("fingerprint") != fingerprint_of(recipe):
            if self.overwrite:
                return None
            before = record.figures.get("recipe", {})
            differing = [name for name in recipe if before.get(name) != recipe[name]]
            raise ConfigError(
                f"{path} was measured with other {', '.join(differing) or 'things'}: name another --report, or add "
                "--overwrite to measure it again"
            )
        whole = labels.is_file() and digest_of(labels) == record.figures.get("labels_sha256")
        return record if whole else None


class LabelMaps:
    """Label maps of a run, as PNG by the name of the picture; a few KB each, so they wait in memory."""

    def __init__(self) -> None:
        self.pictures: dict[str, bytes] = {}

    def add(self, picture: LabelledPicture, labels: Tensor) -> None:
        """Keep the labels (H,W) of a picture."""
        buffer = io.BytesIO()
        Image.fromarray(labels.numpy().astype(np.uint8)).save(buffer, format="PNG")
        self.pictures[picture.name] = buffer.getvalue()

    def archive(self) -> bytes:
        """Put all into a ZIP, the same for the same labels."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as file:
            for name, data in self.pictures.items():
                file.writestr(zipfile.ZipInfo(f"{name}.png"), data)
        return buffer.getvalue()


def measure_all(
    table: Table,
    rows: Sequence[Row],
    benchmarks: Sequence[Benchmark],
    progress: Callable[[str, int, int], None],
) -> list[Cell]:
    """Measure all rows on all benchmarks, row by row.

    Args:
        table: where results are kept.
        rows: in order.
        benchmarks: in order.
        progress: called with what is measured, (pictures done, pictures in all) of it.
    """
    return [
        table.measure(
            row,
            benchmark,
            lambda done, total, what=f"{row.name}, {benchmark.name}": progress(what, done, total),  # type: ignore[misc]
        )
        for row in rows
        for benchmark in benchmarks
    ]


__all__ = ["Cell", "Digests", "LabelMaps", "Table", "found_benchmarks", "measure_all", "recipe_of"]
