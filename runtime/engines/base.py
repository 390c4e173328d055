"""The inference engine: runs one graph of a bundle."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy.typing as npt

from runtime.bundle import GraphSpec
from runtime.errors import EngineError

Arrays = Mapping[str, npt.NDArray[Any]]


class Engine(AbstractContextManager["Engine"], Protocol):
    """Runs a graph: named arrays in, named arrays out. Open from its construction on; a `with` block closes it.

    Whoever opens an engine closes it. Until then any number of threads and segmenters may use it at the same time.
    """

    @property
    def most_words(self) -> int | None:
        """Rows of `text`, synonyms and background words included, that it takes at most; None for any number."""

    def infer(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        """Run the graph once. The inputs are only read, and the outputs belong to the caller.

        Raises:
            EngineError: an input is missing, unknown or not as the graph takes it; the graph failed; or the engine is
                closed.
        """

    def close(self) -> None:
        """Free the engine; it cannot be used afterwards. Closing again does nothing."""


def closed(spec: GraphSpec) -> EngineError:
    """Make the error of an engine that is used after it was closed."""
    return EngineError(f"the engine of {spec.file} is closed: open another one, or close it later")


def check_inputs(inputs: Arrays, spec: GraphSpec) -> None:
    """Check names and shapes of inputs.

    Raises:
        EngineError: an input is missing, unknown, empty, or of a shape that the graph does not take.
    """
    if set(inputs) != set(spec.inputs):
        raise EngineError(f"{spec.file} takes {sorted(spec.inputs)}, got {sorted(inputs)}")
    for name, shape in spec.inputs.items():
        given = inputs[name].shape
        fits = len(given) == len(shape) and all(
            isinstance(want, str) or want == have for want, have in zip(shape, given, strict=True)
        )
        if not fits or 0 in given:
            raise EngineError(f"{spec.file} takes {name} of shape {shape}, got {given}")
