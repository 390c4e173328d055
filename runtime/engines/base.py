"""The inference engine: runs one graph of a bundle."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy.typing as npt

from runtime.bundle import GraphSpec
from runtime.errors import EngineError

Arrays = Mapping[str, npt.NDArray[Any]]


class Engine(Protocol):
    """Runs a graph: named arrays in, named arrays out. The outputs belong to the caller."""

    def infer(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        """Run the graph once."""

    def close(self) -> None:
        """Free the engine; it cannot be used afterwards."""


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
