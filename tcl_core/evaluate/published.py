"""What the paper's table says, as data with its source: never a measurement of ours."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType

AVERAGE = "average"


@dataclass(frozen=True)
class Published:
    """Figures of others.

    Attributes:
        source: where they were printed.
        rows: mIoU in percent by row and benchmark, `average` among the benchmarks.
        notes: what is doubtful about a row.
    """

    source: str
    rows: Mapping[str, Mapping[str, float]]
    notes: Mapping[str, str]

    def of(self, row: str, benchmark: str) -> float | None:
        """MIoU of a row on a benchmark, in percent; None where nothing was printed."""
        return self.rows.get(row, {}).get(benchmark)


@cache
def published() -> Published:
    """Read the figures of the paper."""
    told = json.loads(files("tcl_core.evaluate").joinpath("published.json").read_text("utf-8"))
    return Published(told["source"], MappingProxyType(told["rows"]), MappingProxyType(told["notes"]))


__all__ = ["AVERAGE", "Published", "published"]
