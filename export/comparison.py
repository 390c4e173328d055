"""Whether a graph does what PyTorch does: on real pictures, in sizes and with numbers of words that were not traced."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import onnx

from export.contract import Contract
from export.errors import ParityError, PrecisionError
from export.graph import SegmenterGraph
from export.intermediates import worst_tensors
from export.options import Options
from export.parity import (
    TOLERANCES,
    Case,
    FloatArray,
    Tolerance,
    cases,
    compare,
    failures,
    is_finite,
    label_agreement,
)
from export.pictures import Pictures, as_input
from export.quantization import Agreement
from export.stages import Stages
from export.tracing import TracedGraph
from runtime.bundle import ParityRecord
from runtime.engines.folded import FoldedWords
from runtime.engines.onnx import OnnxRuntimeEngine
from runtime.frame import BGR

NUM_WORDS = 128
"""The largest number of words compared."""

FEW_WORDS = 21
"""Words that a picture in the native size is compared with, unless the bundle has more."""

THOROUGH = 8
"""Pictures that tell the harm of a choice, where labels are judged."""

Images = Sequence[tuple[FloatArray, Sequence[int]]]
"""Arrays (B,3,H,W), each with the numbers of words that it is compared on."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """What PyTorch makes of pictures and words, for graphs to be compared with.

    Attributes:
        reference: what was trained, before any rewriting.
        contract: of the graphs.
        tolerance: what still counts as the same.
        device: where PyTorch and ONNX Runtime run, cpu or cuda.
        cases: inputs, and PyTorch's masks.
    """

    reference: SegmenterGraph
    contract: Contract
    tolerance: Tolerance
    device: str
    cases: tuple[Case, ...] = ()

    def on(self, images: Images, rows: FloatArray) -> "Comparison":
        """Run PyTorch on other images with unit rows (N,C), as many as the largest number of words at least."""
        with _moved(self.reference, self.device):
            return replace(self, cases=cases(self.reference, images, rows, len(self.contract.words)))

    def on_pictures(self, pictures: Sequence[BGR]) -> "Comparison":
        """Run PyTorch on pictures, one at a time, in the native size."""
        rows = self.contract.rows(max(FEW_WORDS, len(self.contract.words)))
        images = [as_input([picture], self.contract.input, self.contract.native) for picture in pictures]
        return self.on([(image, [len(rows)]) for image in images], rows)

    def records(self, data: bytes) -> tuple[ParityRecord, ...]:
        """Compare an ONNX file on every case.

        Raises:
            ParityError: its masks have another shape.
            EngineError: ONNX Runtime refuses it.
        """
        engine = OnnxRuntimeEngine(data, self.contract.spec, provider=self.device)
        with FoldedWords(engine, self.contract.words) if self.contract.folded else engine as opened:
            return tuple(compare(case, opened) for case in self.cases)

    def agreement(self, model: onnx.ModelProto) -> Agreement:
        """Judge a graph by its labels and its mean error; numbers that are not finite agree with nothing."""
        records = self.records(model.SerializeToString())
        if not all(map(is_finite, records)):
            return Agreement(labels=0.0, mean_error=float("inf"))
        return Agreement(label_agreement(records), float(np.mean([record.mean_error for record in records])))


@contextmanager
def _moved(reference: SegmenterGraph, device: str) -> Iterator[None]:
    """Have a module on a device for a while."""
    home = next(reference.parameters()).device
    reference.to(device)
    try:
        yield
    finally:
        reference.to(home)


def run_pytorch(
    reference: SegmenterGraph, contract: Contract, pictures: Pictures, options: Options, stages: Stages
) -> Comparison:
    """Choose pictures, sizes, batches and numbers of words other than those traced, and run PyTorch on them.

    Labels are what int8 is judged by, so it is compared on more pictures.
    """
    stages.tell("running PyTorch on real pictures", "begins")
    tolerance = TOLERANCES[options.tolerance]
    if options.atol is not None:
        tolerance = replace(tolerance, max_error=options.atol)
    comparison = Comparison(reference, contract, tolerance, options.device)
    judged = pictures.judged[:THOROUGH] if options.precision == "int8" else []
    if contract.folded:
        return comparison.on_pictures(judged or [pictures.judged[0], pictures.judged[3]])
    varied = comparison.on(_varied(contract, pictures.judged), contract.rows(NUM_WORDS))
    return replace(varied, cases=varied.cases + comparison.on_pictures(judged).cases) if judged else varied


def _varied(contract: Contract, pictures: Sequence[BGR]) -> Images:
    def image(first: int, count: int, size: tuple[int, int]) -> FloatArray:
        chosen = [pictures[(first + index) % len(pictures)] for index in range(count)]
        return as_input(chosen, contract.input, size)

    if contract.size is not None:
        return [(image(0, 1, contract.size), [1, 3, FEW_WORDS]), (image(2, 2, contract.size), [NUM_WORDS])]
    step = contract.input.multiple_of
    return [
        (image(0, 1, (7 * step, 13 * step)), [1, 3]),
        (image(1, 3, (4 * step, 5 * step)), [FEW_WORDS]),
        (image(2, 2, (9 * step, 6 * step)), [NUM_WORDS]),
        (image(3, 1, contract.native), [FEW_WORDS]),
    ]


def verdict(
    data: bytes, comparison: Comparison, traced: TracedGraph, stages: Stages, *, force: bool = False
) -> tuple[ParityRecord, ...]:
    """Decide whether a graph may be written.

    Args:
        data: the ONNX file, in its precision.
        comparison: what PyTorch makes of it.
        traced: the graph in float32 that it came from; tells where it goes wrong.
        stages: is told what begins.
        force: let labels differ in int8.

    Returns:
        A record for each comparison.

    Raises:
        ParityError: the graph differs from PyTorch.
        PrecisionError: in int8 its labels do so too often.
    """
    stages.tell("comparing with PyTorch", "begins")
    records = comparison.records(data)
    problem = failures(records, comparison.tolerance)
    if not problem:
        return records
    if comparison.contract.spec.precision == "int8" and all(map(is_finite, records)):
        if force:
            return records
        raise PrecisionError(
            f"in int8 too many labels differ: {problem}. Calibrate on more pictures of the same kind, export with "
            "--fp16, or add --force"
        )
    wrong = where_it_differs(data, comparison.cases[0], traced, stages)
    raise ParityError(f"the exported graph differs from PyTorch: {problem}. {wrong}")


def where_it_differs(data: bytes, case: Case, traced: TracedGraph, stages: Stages) -> str:
    """Name the tensors of an ONNX file that are furthest from PyTorch's."""
    stages.tell("looking for where it goes wrong", "begins")
    inputs = traced.contract.inputs(case.image, case.text)
    worst = worst_tensors(traced.program(), onnx.load_from_string(data), inputs)
    return "Worst tensors, in the order of computation: " + "; ".join(map(str, worst))


__all__ = ["FEW_WORDS", "THOROUGH", "Comparison", "run_pytorch", "verdict", "where_it_differs"]
