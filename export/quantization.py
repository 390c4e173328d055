"""int8 in the ONNX graph: QuantizeLinear and DequantizeLinear around products, chosen and measured on real pictures.

Which products bear it is found out by trying: each alone, then without those that do the most harm.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, helper, numpy_helper

from export.errors import PrecisionError
from export.intermediates import Arrays, run_with_outputs
from export.operations import counts_in_graph
from export.products import Product, products
from export.rounding import Moments, Rounded, rounded

LEAST_SHARE = 0.1
"""Of the multiply-adds: less is not worth an int8 graph."""


@dataclass(frozen=True)
class Agreement:
    """How alike a graph and PyTorch are: share of equal labels, mean error of a soft mask."""

    labels: float
    mean_error: float


Judge = Callable[[onnx.ModelProto], Agreement]


@dataclass(frozen=True, eq=False)
class Quantized:
    """A graph with int8 in it.

    Attributes:
        model: the graph.
        kept: modules whose products stay in float32.
        share: of the multiply-adds that are in int8.
    """

    model: onnx.ModelProto
    kept: tuple[str, ...]
    share: float


class Quantizer:
    """Puts products of a graph into int8: a scale for each output of a weight, one for each input, zero at zero.

    Symmetric because TensorRT takes nothing else, and only inputs, because TensorRT leaves outputs in the type that
    the next operator reads. An activation between two products is applied before rounding, so its range is the scale.

    Args:
        model: float32; is left as it is.
        inputs: of real pictures, with words.
        kinds: operators to put into int8.
    """

    def __init__(self, model: onnx.ModelProto, inputs: Iterable[Arrays], kinds: tuple[str, ...] = ("Conv",)) -> None:
        self._model = model
        self.products = products(model, kinds)
        self._largest: dict[str, float] = {}
        moments = {product.name: Moments() for product in self.products}
        first: Arrays | None = None
        for arrays in inputs:
            first = first or arrays
            self._measure(arrays, moments)
        self._counts = {} if first is None else counts_in_graph(model, first)
        self._rounded = {p.name: rounded(p.matrices, moments.pop(p.name)) for p in self.products}

    def _measure(self, arrays: Arrays, moments: Mapping[str, Moments]) -> None:
        computed = {product.input for product in self.products} - arrays.keys()
        values = {**arrays, **(run_with_outputs(self._model, arrays, sorted(computed)) if computed else {})}
        for product in self.products:
            seen = values[product.input]
            self._largest[product.input] = max(self._largest.get(product.input, 0.0), float(np.abs(seen).max()))
            moments[product.name].add(product.columns(seen))

    def share(self, chosen: Collection[Product]) -> float:
        """Share of the graph's multiply-adds that some products are."""
        return sum(self._counts[product.output] for product in chosen) / max(sum(self._counts.values()), 1)

    def quantized(self, chosen: Collection[Product]) -> onnx.ModelProto:
        """Make a copy of the graph with these products in int8."""
        copy = deepcopy(self._model)
        wanted = {product.name: product for product in chosen}
        scales = {product.input: max(self._largest[product.input], 1e-9) / 127 for product in chosen}
        given = [value.name for value in copy.graph.input if value.name in scales]
        nodes = [node for name in given for node in _rounding(copy, name, scales[name])]
        for node in copy.graph.node:
            if node.name in wanted:
                nodes += _replace_weight(copy, node, wanted[node.name], self._rounded[node.name])
                node.input[0] += DEQUANTIZED
            nodes.append(node)
            nodes += [made for name in node.output if name in scales for made in _rounding(copy, name, scales[name])]
        _keep(copy, nodes)
        onnx.checker.check_model(copy, full_check=True)
        return copy


DEQUANTIZED = "/int8"


def _constant(model: onnx.ModelProto, name: str, values: npt.NDArray[Any] | np.generic) -> str:
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
    return name


def _rounding(model: onnx.ModelProto, name: str, scale: float) -> list[NodeProto]:
    """Round a tensor to int8 and back, under its name and `DEQUANTIZED`."""
    made, stored = name + DEQUANTIZED, f"{name}/integers"
    step = [_constant(model, f"{name}/scale", np.float32(scale)), _constant(model, f"{name}/zero", np.int8(0))]
    return [
        helper.make_node("QuantizeLinear", [name, *step], [stored], name=stored),
        helper.make_node("DequantizeLinear", [stored, *step], [made], name=made),
    ]


def _replace_weight(model: onnx.ModelProto, node: NodeProto, product: Product, weight: Rounded) -> list[NodeProto]:
    name, scales = f"{node.name}/weight", weight.scales.reshape(-1).astype(np.float32)
    stored = [
        _constant(model, f"{name}/integers", product.as_weight(weight.integers)),
        _constant(model, f"{name}/scale", scales),
        _constant(model, f"{name}/zero", np.zeros(len(scales), np.int8)),
    ]
    node.input[1] = name
    if product.bias is not None:
        node.input[2] = _constant(
            model, f"{node.name}/bias", (product.bias + weight.shift.reshape(-1)).astype(np.float32)
        )
    return [helper.make_node("DequantizeLinear", stored, [name], name=name, axis=product.axis)]


def _keep(model: onnx.ModelProto, nodes: Sequence[NodeProto]) -> None:
    """Replace the nodes, and drop weights that none of them reads."""
    listed = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(listed)
    read = {name for node in listed for name in node.input}
    weights = [weight for weight in model.graph.initializer if weight.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(weights)


def int8_arithmetic(
    quantizer: Quantizer,
    rough: Judge,
    judge: Judge,
    least: float,
    counted: Callable[[Sequence[Product]], Iterable[Product]] = iter,
) -> Quantized:
    """Put as much into int8 as leaves the labels in place: the products that do the most harm stay in float32.

    Harm is the mean error with that product alone in int8. How many of them stay is found by halving.

    Args:
        quantizer: of the graph.
        rough: compares a graph with PyTorch on a few pictures; tells harm.
        judge: on more of them. Nothing was measured on these pictures.
        least: share of equal labels.
        counted: yields the products, and tells whoever waits how many are done.

    Raises:
        PrecisionError: nothing worth while is left in int8.
    """
    harm = {product.name: rough(quantizer.quantized([product])).mean_error for product in counted(quantizer.products)}
    ranked = sorted(quantizer.products, key=lambda product: -harm[product.name])
    tried: dict[int, Agreement] = {}

    def agrees(count: int) -> bool:
        tried[count] = judge(quantizer.quantized(ranked[count:]))
        return tried[count].labels >= least

    low, high = 0, next((n for n in range(len(ranked) + 1) if quantizer.share(ranked[n:]) < LEAST_SHARE), 0)
    while low < high:  # whatever is fewer than `low` was too few
        middle = (low + high) // 2
        low, high = (low, middle) if agrees(middle) else (middle + 1, high)
    if not (low in tried and tried[low].labels >= least):
        numbers = "; ".join(
            f"{quantizer.share(ranked[count:]):.0%} of the multiply-adds in int8: {agreement.labels:.1%}"
            for count, agreement in sorted(tried.items())
        )
        worst = ", ".join(f"{_module(product)} ({harm[product.name]:.1e})" for product in ranked[:5])
        raise PrecisionError(
            f"in int8 too many labels differ from PyTorch's, whatever stays in float32 (wanted {least:.1%}): "
            f"{numbers or 'nothing can be put into int8'}. Worst by their mean error alone: {worst or 'none'}. "
            "Calibrate on more pictures of the same kind, export with --fp16, or add --force to put everything into "
            "int8 all the same"
        )
    return quantized(quantizer, ranked[low:])


def quantized(quantizer: Quantizer, chosen: Collection[Product]) -> Quantized:
    """Put the chosen products into int8, and name the others."""
    names = {product.name for product in chosen}
    kept = tuple(_module(product) for product in quantizer.products if product.name not in names)
    return Quantized(quantizer.quantized(chosen), kept, quantizer.share(chosen))


def _module(product: Product) -> str:
    path = product.weight_name.removesuffix(".weight").removeprefix("model.")
    return path if "." in path else product.name


__all__ = ["Agreement", "Judge", "Quantized", "Quantizer", "int8_arithmetic", "quantized"]
