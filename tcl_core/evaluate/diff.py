"""Two measurements against each other: what was done otherwise, and what it was worth."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from tcl_core.errors import ConfigError
from tcl_core.evaluate.bootstrap import PairedDifference, paired_difference
from tcl_core.evaluate.counts import ClassCounts
from tcl_core.evaluate.records import VERSIONS, Record

Kind = Literal["settings", "names", "files", "versions"]
ABSENT = "not told"


@dataclass(frozen=True)
class Difference:
    """One thing that two measurements have otherwise.

    Attributes:
        kind: of thing.
        name: of it.
        first: what the first has, plain data.
        second: what the second has.
    """

    kind: Kind
    name: str
    first: Any
    second: Any

    def __str__(self) -> str:
        """For people."""
        return f"{self.name}: {_shown(self.first)} -> {_shown(self.second)}"


@dataclass(frozen=True)
class Comparison:
    """How two measurements differ.

    Attributes:
        differences: in what was done.
        num_common: pictures of the same name.
        gain: mean IoU of the second over the first on these; None where their classes differ or no picture is common.
        classes: IoU of both by class on these, the largest change first; a share, None for what occurs nowhere.
    """

    differences: tuple[Difference, ...]
    num_common: int
    gain: PairedDifference | None
    classes: tuple[tuple[str, float | None, float | None], ...]


def compare(first: Record, second: Record) -> Comparison:
    """Compare two measurements.

    Raises:
        ConfigError: of two kinds of data, which share no picture.
    """
    differences = tuple(differences_of(first, second))
    at = {name: index for index, name in enumerate(second.names)}
    common = [(index, at[name]) for index, name in enumerate(first.names) if name in at]
    if not common:
        raise ConfigError(
            f"{first.path} ({first.figures['data']}) and {second.path} ({second.figures['data']}) share no picture: "
            "expected two measurements on the same data"
        )
    if first.figures["classes"] != second.figures["classes"]:
        return Comparison(differences, len(common), None, ())
    one, other = (
        _taken(record.counts, rows) for record, rows in zip((first, second), zip(*common, strict=True), strict=True)
    )
    gain = paired_difference(other, one)
    ious = zip(first.figures["classes"], one.summed().iou.tolist(), other.summed().iou.tolist(), strict=True)
    classes = sorted(
        ((name, _known(before), _known(after)) for name, before, after in ious),
        key=lambda row: -abs((row[2] or 0.0) - (row[1] or 0.0)),
    )
    return Comparison(differences, len(common), gain, tuple(classes))


def differences_of(first: Record, second: Record) -> list[Difference]:
    """List settings, names, files and versions that differ."""
    found: list[Difference] = []
    for kind, parts in (
        ("settings", ("data", "protocol", "system")),
        ("names", ("classes", "words")),
        ("files", ("model", "files", "data_sha256")),
        ("versions", VERSIONS),
    ):
        ours, theirs = (_flat({part: record.figures.get(part, {}) for part in parts}) for record in (first, second))
        for name in (*ours, *(name for name in theirs if name not in ours)):
            if ours.get(name, ABSENT) != theirs.get(name, ABSENT):
                found.append(Difference(kind, name, ours.get(name, ABSENT), theirs.get(name, ABSENT)))  # type: ignore[arg-type]
    one, other = set(first.names), set(second.names)
    if one != other:
        found.append(Difference("files", "pictures", _told(one - other), _told(other - one)))
    return found


def _told(names: set[str]) -> str:
    return f"{len(names)} that the other lacks" + (f", {min(names)} first" if names else "")


def _flat(data: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{above}{key}.")
        else:
            flat[f"{above}{key}"] = value
    return flat


def _taken(counts: ClassCounts, rows: tuple[int, ...]) -> ClassCounts:
    chosen = torch.tensor(rows)
    return ClassCounts(counts.intersection[chosen], counts.prediction[chosen], counts.label[chosen])


def _known(value: float) -> float | None:
    return None if value != value else value


def _shown(value: Any) -> str:
    text = "|".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


__all__ = ["Comparison", "Difference", "compare", "differences_of"]
