"""Operators that multiply by a constant weight, seen as matrices: convolutions, MatMul, Gemm."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, helper, numpy_helper

Matrices = npt.NDArray[np.float64]
Tensor = npt.NDArray[np.float32]

MOST_COLUMNS = 400
"""Of one picture: neighbouring cells resemble each other, so that more say little more."""


@dataclass(frozen=True, eq=False)
class Product:
    """One operator, whose output is `weight @ columns + bias`, for each group of channels by itself.

    Attributes:
        name: of the node.
        kind: operator.
        input: name of the tensor that is multiplied.
        output: name of the result.
        weight: as in the graph.
        weight_name: of the initializer; begins with the module's path.
        bias: (O,), or None if there is none.
        groups: of channels, G.
        axis: of the weight that counts outputs.
        attributes: of the node.
    """

    name: str
    kind: str
    input: str
    output: str
    weight: Tensor
    weight_name: str
    bias: Tensor | None
    groups: int
    axis: int
    attributes: dict[str, Any]

    @property
    def matrices(self) -> Matrices:
        """The weight as (G,O,K): groups, outputs of a group, inputs that each sees."""
        weight = np.moveaxis(self.weight, self.axis, 0).astype(np.float64)
        matrices: Matrices = weight.reshape(self.groups, len(weight) // self.groups, -1)
        return matrices

    def as_weight(self, matrices: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Shape matrices (G,O,K) as the graph's weight."""
        if self.kind == "Conv":
            return matrices.reshape(self.weight.shape)
        return np.ascontiguousarray(np.moveaxis(matrices[0], 0, self.axis))

    def columns(self, values: Tensor) -> Matrices:
        """Pick columns (G,K,P) out of an input, evenly spaced."""
        if self.kind != "Conv":
            rows = values.reshape(-1, values.shape[-1])
            columns: Matrices = rows[_spread(len(rows))].astype(np.float64).T[None]
            return columns
        top, left, bottom, right = self.attributes.get("pads", (0, 0, 0, 0))
        (down, across), (row, column) = self.attributes["strides"], self.attributes["dilations"]
        height, width = self.weight.shape[2:]
        padded = np.pad(values, ((0, 0), (0, 0), (top, bottom), (left, right)))
        span = (height - 1) * row + 1, (width - 1) * column + 1
        windows = np.lib.stride_tricks.sliding_window_view(padded, span, (2, 3))
        windows = windows[:, :, ::down, ::across, ::row, ::column]  # (B,C,h,w,kernel)
        shape = windows.shape[0], *windows.shape[2:4]
        image, y, x = np.unravel_index(_spread(int(np.prod(shape))), shape)
        picked = windows[image, :, y, x].astype(np.float64)  # (P,C,kernel)
        return np.moveaxis(picked.reshape(len(picked), self.groups, -1), 0, 2)


def _spread(count: int) -> npt.NDArray[np.intp]:
    return np.linspace(0, count - 1, min(count, MOST_COLUMNS)).astype(np.intp)


def products(model: onnx.ModelProto, kinds: Collection[str]) -> tuple[Product, ...]:
    """List the operators of these kinds whose weight is a constant of the graph, in order."""
    constants = {weight.name: weight for weight in model.graph.initializer}
    found = (_product(node, constants) for node in model.graph.node if node.op_type in kinds)
    return tuple(product for product in found if product is not None)


def _product(node: NodeProto, constants: dict[str, onnx.TensorProto]) -> Product | None:
    if len(node.input) < 2 or node.input[1] not in constants or node.input[0] in constants:
        return None
    weight = numpy_helper.to_array(constants[node.input[1]])
    bias_name = node.input[2] if len(node.input) > 2 else ""
    if weight.dtype != np.float32 or (bias_name and bias_name not in constants):
        return None
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    groups, axis = attributes.get("group", 1), 0
    if node.op_type == "Conv":
        if weight.ndim != 4 or attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
            return None
        attributes = {"strides": (1, 1), "dilations": (1, 1), **attributes}
    elif weight.ndim != 2 or any(attributes.get(name, plain) != plain for name, plain in PLAIN_GEMM.items()):
        return None
    else:
        axis = 0 if attributes.get("transB") else 1
    bias = numpy_helper.to_array(constants[bias_name]).reshape(-1) if bias_name else None
    if bias is not None and len(bias) != weight.shape[axis]:
        return None
    names = node.name, node.op_type, node.input[0], node.output[0]
    return Product(*names, weight, node.input[1], bias, int(groups), axis, attributes)


PLAIN_GEMM = {"transA": 0, "alpha": 1.0, "beta": 1.0}

__all__ = ["Product", "products"]
