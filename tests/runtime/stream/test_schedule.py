"""Words that change at a time. Oracle: what is due, by hand."""

import pytest

from runtime.errors import UsageError
from runtime.stream.schedule import Change, Schedule, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1.5s", 1.5), ("10m", 600), ("2 min", 120), ("1h", 3600), ("250ms", 0.25), (" 3S ", 3)],
)
def test_times(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1s", "1 day", "1s2", "1e3", "nan", "1,5s"])
def test_no_times(text: str) -> None:
    with pytest.raises(UsageError, match="expected a number and a unit"):
        parse_duration(text)


def test_changes() -> None:
    assert Change.parse("3s=wheel, a=b") == Change(3.0, "wheel, a=b")
    for text in ("3s", "3s=", "=car", "3s= "):
        with pytest.raises(UsageError):
            Change.parse(text)


def test_each_change_is_made_once_and_the_latest_that_is_due_counts() -> None:
    made: list[str] = []
    schedule = Schedule([Change(3, "c"), Change(0, "a"), Change(1, "b"), Change(2.5, "d")], made.append)
    seen = []
    for time_s in (0.0, 0.5, 1.0, 2.9, 3.0, 9.0):
        schedule(time_s)
        seen.append("".join(made))
    assert seen == ["a", "a", "ab", "abd", "abdc", "abdc"]
