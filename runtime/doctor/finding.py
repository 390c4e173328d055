"""What the doctor found."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: what.
        status: ok; note: something is missing that not everyone needs; problem: something will fail.
        detail: what was found.
        fix: the exact thing to do, empty if nothing is.
    """

    subject: str
    status: Status
    detail: str
    fix: str = ""
