"""Which provider runs the network when nobody says: `--provider auto`.

The fastest that is installed and passes its check, and no quiet decision: what was refused is kept with its reason.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from runtime.engines.base import Engine
from runtime.errors import BundleError, EngineError, UsageError

AUTO = "auto"


@dataclass(frozen=True)
class Candidate:
    """A provider that could run a graph.

    Attributes:
        provider: its name.
        missing: says, without loading anything of it, why it cannot be here; empty if it may be.
        open: opens an engine that has passed its check, or raises whatever is in its way.
    """

    provider: str
    missing: Callable[[], str]
    open: Callable[[], Engine]


@dataclass(frozen=True)
class Choice:
    """The provider that runs the network, and why no faster one does.

    Attributes:
        provider: `tensorrt`, `cuda` or `cpu`.
        refused: faster providers and what was in their way, the fastest first; empty where one was asked for by name.
    """

    provider: str
    refused: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """Say it in a line."""
        reasons = "; ".join(f"{provider}: {reason}" for provider, reason in self.refused)
        return f"{self.provider} ({reasons})" if reasons else self.provider


def first_that_works(candidates: Sequence[Candidate]) -> tuple[Engine, Choice]:
    """Open the first provider that is there and passes its check.

    Args:
        candidates: the fastest first.

    Raises:
        UsageError: what was asked for no provider can do, such as a size.
        BundleError: a file of the bundle is damaged.
        EngineError: none works.
    """
    refused: list[tuple[str, str]] = []
    for candidate in candidates:
        reason = candidate.missing()
        if not reason:
            try:
                return candidate.open(), Choice(candidate.provider, tuple(refused))
            except (UsageError, BundleError):
                raise
            except Exception as error:  # what half an installation of NVIDIA's raises has no common base
                reason = " ".join(str(error).split()) or type(error).__name__
        refused.append((candidate.provider, reason))
    raise EngineError("; ".join(f"{provider}: {reason}" for provider, reason in refused))
