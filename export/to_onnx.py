"""From a graph module to the bytes of an ONNX file with named, documented dimensions."""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import onnx
import onnxslim
import torch
from torch import Tensor, nn

from export.errors import OptionError
from runtime.bundle import Shape

OPSET = 20
"""The first with a native Gelu; 23 and later fuse an Attention operator that TensorRT-RTX rejects in fp32."""

OPSETS = range(18, 25)
"""What the exporter writes; it turns a request for less into 18."""

LARGEST = 2**31 - 1
"""Bytes of a protobuf message. Larger models would need files beside it, which the bundle refuses."""


@dataclass(frozen=True)
class Signature:
    """Names and shapes of a graph's inputs and output, in order; a named dimension is free."""

    inputs: Mapping[str, Shape]
    outputs: Mapping[str, Shape]


def to_onnx(graph: nn.Module, sample: tuple[Tensor, ...], signature: Signature, opset: int = OPSET) -> onnx.ModelProto:
    """Trace `graph` on `sample` and simplify the result; arguments and errors as for `trace`."""
    program = trace(graph, sample, signature, opset)
    _check_size(program.model.graph.initializers.values())
    model: onnx.ModelProto = onnxslim.slim(program.model_proto)
    _name_dimensions(model.graph.input, signature.inputs)
    _name_dimensions(model.graph.output, signature.outputs)
    del model.graph.value_info[:]  # names dimensions by the tracer's symbols; every reader infers it again
    onnx.checker.check_model(model, full_check=True)
    return model


def trace(
    graph: nn.Module, sample: tuple[Tensor, ...], signature: Signature, opset: int = OPSET
) -> torch.onnx.ONNXProgram:
    """Trace `graph` on `sample`.

    Args:
        graph: takes the signature's inputs positionally and returns its one output.
        sample: one tensor an input. No free dimension may be 0 or 1 in it: those would be traced as constants.
        signature: names and shapes.
        opset: of the ONNX standard.

    Raises:
        OptionError: the opset cannot be written, or the model is larger than an ONNX file may be.
        ValueError: a sample dimension is 0 or 1 where the signature says free.
    """
    if opset not in OPSETS:
        raise OptionError(f"opset {opset} given, expected {OPSETS.start} to {OPSETS.stop - 1}; most read {OPSET}")
    dynamic = []
    for (name, shape), tensor in zip(signature.inputs.items(), sample, strict=True):
        free = {axis for axis, size in enumerate(shape) if isinstance(size, str)}
        if any(tensor.shape[axis] < 2 for axis in free):
            raise ValueError(
                f"sample {name} has shape {tuple(tensor.shape)}, expected at least 2 in axes {sorted(free)}"
            )
        dynamic.append(dict.fromkeys(free, torch.export.Dim.DYNAMIC))
    with warnings.catch_warnings(), _nothing_in_place(graph):
        warnings.simplefilter("ignore")  # the exporter's notes about itself; what matters is compared afterwards
        program = torch.onnx.export(
            graph.eval(),
            sample,
            dynamo=True,
            opset_version=opset,
            input_names=list(signature.inputs),
            output_names=list(signature.outputs),
            dynamic_shapes=tuple(dynamic),
            external_data=False,
            verbose=False,
        )
    assert program is not None
    return program


@contextmanager
def _nothing_in_place(graph: nn.Module) -> Iterator[None]:
    """Have activations give new tensors for a while.

    The tracer takes those that overwrite their input apart, which is a third of its time for a network full of them,
    and writes the same operators in the end.
    """
    overwriting = [module for module in graph.modules() if getattr(module, "inplace", False)]
    for module in overwriting:
        module.inplace = False  # type: ignore[assignment]
    try:
        yield
    finally:
        for module in overwriting:
            module.inplace = True  # type: ignore[assignment]


def _check_size(weights: Iterable[Any]) -> None:
    size = sum(value.const_value.nbytes for value in weights if value.const_value is not None)
    if size > LARGEST:
        raise OptionError(
            f"the model has {size / 1e9:.1f} GB of weights, one ONNX file holds {LARGEST / 1e9:.1f}: take a smaller one"
        )


def _name_dimensions(values: Iterable[onnx.ValueInfoProto], shapes: Mapping[str, Shape]) -> None:
    for value in values:
        for dimension, size in zip(value.type.tensor_type.shape.dim, shapes[value.name], strict=True):
            if isinstance(size, str):
                dimension.dim_param = size
            else:
                dimension.dim_value = size
