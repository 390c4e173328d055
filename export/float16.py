"""Precision inside the ONNX graph: the arithmetic, or only the storage, in 16 bits.

TensorRT 11 has no precision switches any more, so the graph itself must say what is computed in which type.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxconverter_common.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

from export.errors import PrecisionError
from export.intermediates import Arrays, run_with_outputs

SMALL = 16384
"""Elements. Smaller tensors stay in float32: biases, first layers, depthwise kernels.

They are 2 % of the file of `tiny`, and half of what its masks lose by rounding comes from them.
"""

LARGEST_HALF = 65504.0
RISK = LARGEST_HALF / 2
"""A number this large in the pictures at hand may be beyond float16 in others."""


@dataclass(frozen=True)
class Island:
    """What is kept in float32: operators of some kinds, and those that begin the graph, a share of all.

    Rounding at the beginning is amplified by everything after it.
    """

    kinds: tuple[str, ...] = ()
    beginning: float = 0.0

    def nodes(self, model: onnx.ModelProto) -> set[str]:
        """Name the nodes."""
        count = round(self.beginning * len(model.graph.node))
        first = {node.name for node in model.graph.node[:count]}
        return first | {node.name for node in model.graph.node if node.op_type in self.kinds}


NORMS = ("ReduceL2", "LayerNormalization")
FINE = (*NORMS, "Softmax", "Einsum", "Sigmoid", "Div", "Gelu")
ISLANDS = (
    Island(),
    Island(NORMS[:1]),
    Island(NORMS),
    Island((*NORMS, "Softmax")),
    Island((*NORMS, "Softmax"), beginning=0.1),
    Island((*NORMS, "Softmax"), beginning=0.25),
    Island(FINE, beginning=0.4),
)
"""Tried in this order until the graph does what PyTorch does."""

SQUARING = ("ReduceL2", "LayerNormalization")
"""Operators whose inside is the square of their input."""


def half_arithmetic(
    model: onnx.ModelProto, inputs: Iterable[Arrays], accept: Callable[[onnx.ModelProto], str]
) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """Compute in float16, and in float32 where float16 would overflow or parity needs it.

    Args:
        model: float32; is left as it is.
        inputs: real ones, in which the size of numbers is measured.
        accept: says what is wrong with a converted graph; empty if nothing.

    Returns:
        The graph, whose inputs and outputs stay float32, and what is kept in float32, as "Softmax x 12".

    Raises:
        PrecisionError: no choice is accepted.
    """
    overflowing = overflowing_nodes(model, inputs)
    problem = ""
    tried: set[frozenset[str]] = set()
    for island in ISLANDS:
        kept = island.nodes(model) | set(overflowing)
        if frozenset(kept) in tried:
            continue
        tried.add(frozenset(kept))
        converted = _converted(model, kept)
        if not (problem := accept(converted)):
            counts = Counter(node.op_type for node in model.graph.node if node.name in kept)
            return converted, tuple(f"{kind} x {count}" for kind, count in sorted(counts.items()))
    beyond = "; ".join(f"{name} reaches {value:.2g}" for name, value in list(overflowing.items())[:5])
    raise PrecisionError(
        f"in float16 the graph differs too much, also with {', '.join(FINE)} in float32: {problem}. "
        + (f"Beyond float16 in the pictures at hand, and kept in float32: {beyond}. " if beyond else "")
        + "Export in fp32, or with --fp16-weights"
    )


def _converted(model: onnx.ModelProto, kept: set[str]) -> onnx.ModelProto:
    copy = _with_own_weights(model, kept)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one line for every weight below float16's smallest number
        converted: onnx.ModelProto = convert_float_to_float16(
            copy,
            keep_io_types=True,
            max_finite_val=LARGEST_HALF,
            op_block_list=DEFAULT_OP_BLOCK_LIST,
            node_block_list=sorted(kept),
        )
    _keep_outputs(converted)
    return converted


def _keep_outputs(model: onnx.ModelProto) -> None:
    """Give outputs of nodes that stay in float32 as they are: the converter casts them to float16.

    Of outputs that no node reads, as those of a segmenter.
    """
    for output in model.graph.output:
        if output.type.tensor_type.elem_type == TensorProto.FLOAT16:
            cast = next(node for node in model.graph.node if output.name in node.output)
            cast.CopyFrom(helper.make_node("Identity", [cast.input[0]], [output.name], name=cast.name))
            output.type.tensor_type.elem_type = TensorProto.FLOAT


def _with_own_weights(model: onnx.ModelProto, kept: set[str]) -> onnx.ModelProto:
    """Copy a graph so that no weight is shared between a node that stays in float32 and one that does not."""
    copy = deepcopy(model)
    shared = {name for node in copy.graph.node if node.name not in kept for name in node.input}
    weights = {weight.name: weight for weight in copy.graph.initializer if weight.name in shared}
    own: dict[str, str] = {}
    for node in copy.graph.node:
        for index, name in enumerate(node.input):
            if node.name in kept and name in weights:
                own[name] = node.input[index] = f"{name}/fp32"
    for name, renamed in own.items():
        weight = copy.graph.initializer.add()
        weight.CopyFrom(weights[name])
        weight.name = renamed
    return copy


def overflowing_nodes(model: onnx.ModelProto, inputs: Iterable[Arrays]) -> dict[str, float]:
    """Find nodes that read or write numbers near or beyond the largest of float16, or square them inside.

    Returns:
        For each node's name the largest number met there.
    """
    largest = largest_numbers(model, inputs)
    found: dict[str, float] = {}
    for node in model.graph.node:
        values = [largest[name] for name in (*node.input, *node.output) if name in largest]
        if node.op_type in SQUARING:
            values.append(largest.get(node.input[0], 0.0) ** 2)
            if node.op_type == "ReduceL2":  # a sum of squares
                values.append(largest.get(node.output[0], 0.0) ** 2)
        worst = max(values, default=0.0)
        if worst > RISK or not np.isfinite(worst):
            found[node.name] = worst
    return found


def largest_numbers(model: onnx.ModelProto, inputs: Iterable[Arrays]) -> dict[str, float]:
    """Measure the largest absolute number of every float32 tensor of a graph, weights included."""
    typed = onnx.shape_inference.infer_shapes(model).graph
    floats = {v.name for v in (*typed.value_info, *typed.output) if v.type.tensor_type.elem_type == TensorProto.FLOAT}
    names = [name for node in model.graph.node for name in node.output if name in floats]
    probed = deepcopy(model)
    for name in names:
        probed.graph.node.append(helper.make_node("Abs", [name], [f"{name}/abs"]))
        probed.graph.node.append(helper.make_node("ReduceMax", [f"{name}/abs"], [f"{name}/max"], keepdims=0))
    largest = {
        weight.name: float(np.abs(numpy_helper.to_array(weight)).max(initial=0))
        for weight in model.graph.initializer
        if weight.data_type == TensorProto.FLOAT
    }
    for arrays in inputs:
        found = run_with_outputs(probed, arrays, [f"{name}/max" for name in names], TensorProto.FLOAT)
        for name in names:
            largest[name] = max(largest.get(name, 0.0), float(found[f"{name}/max"]))
    return largest


def half_storage(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store float32 weights as float16 and cast them back when the graph is loaded: half the file, the same speed.

    ONNX Runtime folds the casts into constants once, so the arithmetic is that of the float32 graph with rounded
    weights.

    Raises:
        PrecisionError: a weight is beyond the largest number of float16.
    """
    copy = deepcopy(model)
    casts = []
    for weight in copy.graph.initializer:
        if weight.data_type != TensorProto.FLOAT or np.prod(weight.dims) < SMALL:
            continue
        name, values = weight.name, numpy_helper.to_array(weight)
        if np.abs(values).max() > LARGEST_HALF:
            raise PrecisionError(
                f"the weight {name} has numbers up to {np.abs(values).max():.2g}, float16 ends at {LARGEST_HALF:g}: "
                "export without --fp16-weights"
            )
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.fp16"))
        casts.append(helper.make_node("Cast", [weight.name], [name], to=TensorProto.FLOAT, name=f"{name}.cast"))
    nodes = [*casts, *copy.graph.node]
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    onnx.checker.check_model(copy, full_check=True)
    return copy
