"""How many multiplications a segmenter takes: counted in its ONNX graph, and in PyTorch before any rewriting."""

from collections.abc import Iterator, Mapping
from math import prod
from typing import Any, Literal

import numpy.typing as npt
import onnx
import torch
from onnx import NodeProto, TensorProto, helper
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from export.intermediates import run_with_outputs

COUNTED = ("Conv", "MatMul", "Gemm", "Einsum", "Attention")
"""Operators of graphs that are traced here. Attention comes with opset 23."""


def count_in_graph(model: onnx.ModelProto, inputs: Mapping[str, npt.NDArray[Any]]) -> int:
    """Count multiply-adds of convolutions and matrix products, by running the graph once and asking for shapes."""
    nodes = [node for node in model.graph.node if node.op_type in COUNTED]
    names = sorted({name for node in nodes for name in (*node.input[:2], *node.output)})
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    probed.graph.node.extend(helper.make_node("Shape", [name], [f"{name}/shape"]) for name in names)
    found = run_with_outputs(probed, inputs, [f"{name}/shape" for name in names], TensorProto.INT64)
    shapes = {name: tuple(int(side) for side in found[f"{name}/shape"]) for name in names}
    return sum(_node_count(node, shapes) for node in nodes)


def _node_count(node: NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> int:
    output, first, second = shapes[node.output[0]], shapes[node.input[0]], shapes[node.input[1]]
    if node.op_type == "Conv":
        return int(prod(output) * prod(second[1:]))
    if node.op_type == "Einsum":
        equation = next(attribute.s.decode() for attribute in node.attribute if attribute.name == "equation")
        left, right = equation.replace(" ", "").split("->")[0].split(",")
        return int(prod((dict(zip(left, first, strict=True)) | dict(zip(right, second, strict=True))).values()))
    if node.op_type == "Attention":  # queries by keys, then weights by values
        return int((prod(first) + prod(output)) * second[-2])
    transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return int(prod(output) * first[-2 if transposed else -1])


def count_in_pytorch(
    graph: nn.Module, inputs: tuple[tuple[int, ...], ...], kind: Literal["all", "convolution"] = "all"
) -> int:
    """Count multiply-adds of convolutions and matrix products of a module on inputs of these shapes.

    Nothing is computed: the module runs on tensors that have a shape only.
    """
    state = {name: tensor.to("meta") for name, tensor in _named_tensors(graph)}
    counter = FlopCounterMode(display=False)
    # The fused kernel of attention is not counted; its parts are.
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), counter:
        shaped = tuple(torch.ones(*shape, device="meta") for shape in inputs)
        torch.func.functional_call(graph, state, shaped, tie_weights=False)
    if kind == "all":
        return int(counter.get_total_flops() // 2)
    counts = counter.get_flop_counts()["Global"]
    return int(sum(flops for operator, flops in counts.items() if "convolution" in str(operator)) // 2)


def _named_tensors(graph: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from graph.named_parameters(remove_duplicate=False)
    yield from graph.named_buffers(remove_duplicate=False)
