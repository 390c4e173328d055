"""Words that change at a time: `--classes-at 3s="wheel, windscreen"`."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from runtime.errors import UsageError

UNITS_S = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def parse_duration(text: str) -> float:
    """Read seconds from "90", "1.5s", "10m", "1h".

    Raises:
        UsageError: it is no such text.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", text.lower())
    if found is None or found[2] not in UNITS_S:
        raise UsageError(f"time {text!r} given, expected a number and a unit, like 90s, 1.5s, 10m or 1h")
    return float(found[1]) * UNITS_S[found[2]]


@dataclass(frozen=True)
class Change:
    """Words that are segmented from a time on.

    Attributes:
        time_s: of the first frame that they are for.
        words: as for `--classes`.
    """

    time_s: float
    words: str

    @classmethod
    def parse(cls, text: str) -> "Change":
        """Read `3s=wheel, windscreen`.

        Raises:
            UsageError: it is no such text.
        """
        time, equals, words = text.partition("=")
        if not equals or not words.strip():
            raise UsageError(
                f'--classes-at {text!r} given, expected a time and words, like --classes-at 3s="car, road"'
            )
        return cls(parse_duration(time), words.strip())


class Schedule:
    """Changes the words when the first frame comes that they are for.

    Args:
        changes: in any order; of those whose time has come, the latest counts.
        change: segments other words from now on.
    """

    def __init__(self, changes: Sequence[Change], change: Callable[[str], None]) -> None:
        self._left = sorted(changes, key=lambda change: change.time_s)
        self._change = change

    def __call__(self, time_s: float) -> None:
        """Do what is due before the frame of that time."""
        due = [change for change in self._left if change.time_s <= time_s]
        if due:
            self._left = self._left[len(due) :]
            self._change(due[-1].words)
