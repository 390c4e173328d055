"""The segmenter's graph in the precision that was asked for, checked against PyTorch where something must be chosen."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import onnx

from export.comparison import FEW_WORDS, THOROUGH, Comparison, where_it_differs
from export.contract import Contract
from export.errors import PrecisionError
from export.float16 import half_arithmetic, half_storage
from export.intermediates import Arrays
from export.operations import count_in_pytorch
from export.options import Options
from export.parity import failures
from export.pictures import Pictures, as_input
from export.quantization import Quantizer, int8_arithmetic, quantized
from export.stages import Stages
from export.tracing import TracedGraph
from runtime.bundle import GraphSpec
from runtime.frame import BGR

KEPT = "tcl_edge.kept_fp32"
"""Where a graph of lower precision says what it computes in float32."""

SHARE = "tcl_edge.int8_share"
"""Where a graph in int8 says which share of the multiply-adds that is."""

MARGIN = 0.02
"""Labels that int8 must keep beyond what the gate asks for, which judges other pictures."""

ROUGH = 3
"""Pictures that tell the harm of one operator."""


@dataclass(frozen=True, eq=False)
class LoweredGraph:
    """A segmenter's graph in its precision.

    Attributes:
        data: the ONNX file.
        spec: for the manifest.
        int8_share: of the multiply-adds that are in int8; None where none could be.
    """

    data: bytes
    spec: GraphSpec
    int8_share: float | None


def lower_precision(
    traced: TracedGraph, comparison: Comparison, pictures: Pictures, options: Options, stages: Stages
) -> LoweredGraph:
    """Convert a graph to the precision, or the storage of weights, that was asked for.

    Args:
        traced: in float32; is left as it is.
        comparison: accepts what float16 and int8 try.
        pictures: int8 is measured and searched on some of them.
        options: how.
        stages: keeps the result.

    Raises:
        PrecisionError: it cannot be had, whatever is kept in float32.
    """
    data = traced.data
    if options.precision == "fp16":
        make = partial(_in_float16, traced, comparison, stages)
        data = stages.result("converting to float16", _key(traced, comparison), make)
    elif options.precision == "int8":
        make = partial(_in_int8, traced, comparison, pictures, stages, force=options.force)
        seen = [_digest(picture.tobytes()) for picture in (*pictures.measured, *pictures.searched)]
        key = [*_key(traced, comparison), seen, options.force]
        data = stages.result("calibrating int8, and finding what bears it", key, make)
    elif options.weights == "fp16":
        data = half_storage(onnx.load_from_string(data)).SerializeToString()
    model = onnx.load_from_string(data)
    spec = traced.contract.spec.model_copy(update={"kept_fp32": tuple(_told(model, KEPT) or ())})
    return LoweredGraph(data, spec, _told(model, SHARE))


def _told(model: onnx.ModelProto, key: str) -> Any:
    return next((json.loads(entry.value) for entry in model.metadata_props if entry.key == key), None)


def _key(traced: TracedGraph, comparison: Comparison) -> list[object]:
    seen = [_digest(case.image.tobytes() + case.text.tobytes()) for case in comparison.cases]
    return [_digest(traced.data), str(comparison.tolerance), seen]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _in_float16(traced: TracedGraph, comparison: Comparison, stages: Stages) -> bytes:
    last = traced.data

    def accept(candidate: onnx.ModelProto) -> str:
        nonlocal last
        last = candidate.SerializeToString()
        return failures(comparison.records(last), comparison.tolerance)

    once = {id(case.image): case for case in comparison.cases}.values()
    inputs = [traced.contract.inputs(image[None], case.text) for case in once for image in case.image]
    try:
        half, kept = half_arithmetic(onnx.load_from_string(traced.data), inputs, accept)
    except PrecisionError as error:
        wrong = where_it_differs(last, comparison.cases[0], traced, stages)
        raise PrecisionError(f"{error}. {wrong}") from None
    half.metadata_props.add(key=KEPT, value=json.dumps(kept))
    data: bytes = half.SerializeToString()
    return data


def _in_int8(traced: TracedGraph, comparison: Comparison, pictures: Pictures, stages: Stages, *, force: bool) -> bytes:
    inputs = _measured_inputs(traced.contract, stages.counted(pictures.measured))
    quantizer = Quantizer(onnx.load_from_string(traced.data), inputs, _kinds(traced))
    thorough = comparison.on_pictures(pictures.searched[:THOROUGH])
    rough = replace(thorough, cases=thorough.cases[:ROUGH])
    least = comparison.tolerance.label_agreement + MARGIN
    try:
        found = int8_arithmetic(quantizer, rough.agreement, thorough.agreement, least, stages.counted)
    except PrecisionError:
        if not force:
            raise
        found = quantized(quantizer, quantizer.products)
    found.model.metadata_props.add(key=KEPT, value=json.dumps(found.kept))
    found.model.metadata_props.add(key=SHARE, value=json.dumps(found.share))
    data: bytes = found.model.SerializeToString()
    return data


def _measured_inputs(contract: Contract, pictures: Iterable[BGR]) -> Iterator[Arrays]:
    text = contract.rows(FEW_WORDS)
    for picture in pictures:
        yield contract.inputs(as_input([picture], contract.input, contract.native), text)


def _kinds(traced: TracedGraph) -> tuple[str, ...]:
    """Choose operators for int8: where convolutions are most of the work, the rest is not worth its labels."""
    side = 4 * traced.contract.input.multiple_of
    shapes = (1, 3, side, side), (1, traced.contract.channels)
    whole = count_in_pytorch(traced.reference, shapes)
    convolutions = count_in_pytorch(traced.reference, shapes, kind="convolution")
    return ("Conv",) if convolutions > whole / 2 else ("Conv", "MatMul", "Gemm")


__all__ = ["LoweredGraph", "lower_precision"]
