"""How many multiplications a segmenter takes: counted in its ONNX graph, and in PyTorch before any rewriting."""

from collections.abc import Mapping
from copy import deepcopy
from math import prod
from typing import Any, Literal

import onnx
import torch
from onnx import NodeProto, TensorProto, helper
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from export.intermediates import Arrays, run_with_outputs

COUNTED = ("Conv", "MatMul", "Gemm", "Einsum", "Attention")
"""Operators of graphs that are traced here. Attention comes with opset 23."""


def count_in_graph(model: onnx.ModelProto, inputs: Arrays) -> int:
    """Count multiply-adds of convolutions and matrix products, by running the graph once and asking for shapes."""
    return sum(counts_in_graph(model, inputs).values())


def counts_in_graph(model: onnx.ModelProto, inputs: Arrays) -> dict[str, int]:
    """Count them for each node, by the name of its output."""
    nodes = [node for node in model.graph.node if node.op_type in COUNTED]
    names = sorted({name for node in nodes for name in (*node.input[:2], *node.output)})
    probed = deepcopy(model)
    probed.graph.node.extend(helper.make_node("Shape", [name], [f"{name}/shape"]) for name in names)
    found = run_with_outputs(probed, inputs, [f"{name}/shape" for name in names], TensorProto.INT64)
    shapes = {name: tuple(int(side) for side in found[f"{name}/shape"]) for name in names}
    return {node.output[0]: _node_count(node, shapes) for node in nodes}


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
    shaped = _shape_of(graph)
    counter = FlopCounterMode(display=False)
    # The fused kernel of attention is not counted; its parts are.
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), counter:
        shaped(*(torch.ones(*shape, device="meta") for shape in inputs))
    if kind == "all":
        return int(counter.get_total_flops() // 2)
    counts = counter.get_flop_counts()["Global"]
    return int(sum(flops for operator, flops in counts.items() if "convolution" in str(operator)) // 2)


def _shape_of(graph: nn.Module) -> nn.Module:
    """Copy a module without its numbers."""
    memo: dict[int, Any] = {id(p): nn.Parameter(p.detach().to("meta"), False) for p in graph.parameters()}
    memo |= {id(buffer): buffer.to("meta") for buffer in graph.buffers()}
    return deepcopy(graph, memo)
