"""Every error that this package raises on purpose, beside ValueError for arguments that a caller got wrong.

    TclCoreError
    ├── ConfigError                what was asked for cannot be (also a ValueError): commands end with 2, else with 1
    ├── DataError                  data that is damaged, or too much of which is bad (also a ValueError)
    │   └── DataConfigError        data that is not where it was said to be, or not as it was asked for (a ConfigError)
    ├── WeightsError               weights that are damaged, unsafe, or of another model (also a ValueError)
    │   ├── UnsafePickleError      a file that would run code
    │   ├── ModelFileError         the file of a model is missing, damaged, or none
    │   └── CheckpointError        what a training wrote cannot be written or read
    ├── TrainingError              a run cannot go on (also a RuntimeError)
    ├── WriteError                 the system refused a file: disk full, no permission
    └── BadSampleError             one sample that is passed over and counted

Each message says what was given, what was expected and what to do. Of errors from outside this tree, ValueError and
FileNotFoundError say that what was asked for cannot be.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


class TclCoreError(Exception):
    """Base of all errors of this package."""


class ConfigError(TclCoreError, ValueError):
    """A setting, name or file that does not exist or does not fit: the message names it and says what would."""


class DataError(TclCoreError, ValueError):
    """The data cannot be used: damaged, or too much of it is bad."""


class DataConfigError(DataError, ConfigError):
    """There is no such data, or none that fits what was asked for."""


class WeightsError(TclCoreError, ValueError):
    """A file of weights cannot be used: damaged, unsafe, or made for another model."""


class UnsafePickleError(WeightsError):
    """The file names something that is neither a tensor nor plain data, so reading it could run code."""


class ModelFileError(WeightsError):
    """The file of a model is missing, damaged, or not one: the message says which and what to do."""


class CheckpointError(WeightsError):
    """A checkpoint or a trained directory cannot be written, or read."""


class TrainingError(TclCoreError, RuntimeError):
    """Training cannot go on; the message says at which step and why."""


class WriteError(TclCoreError):
    """A file cannot be written; what was there is intact.

    Args:
        path: of the file.
        reason: in the words of the system.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        """Tell what to do, too."""
        return f"{self.path} cannot be written ({self.reason}): make room there, or choose another place"


@dataclass(frozen=True)
class Problem:
    """Something that was passed over.

    Attributes:
        kind: of thing.
        where: file and member.
        num_samples: how many samples it is worth; that of a missing shard is the mean of the others.
    """

    kind: str
    where: str
    num_samples: int = 1


class BadSampleError(TclCoreError):
    """One sample that cannot be used; training passes it over and counts it."""

    def __init__(self, kind: str, where: str) -> None:
        super().__init__(f"{kind}: {where}")
        self.problem = Problem(kind, where)

    def __reduce__(self) -> tuple[Any, ...]:
        """Survive the way between processes."""
        return type(self), (self.problem.kind, self.problem.where)
