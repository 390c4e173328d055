"""From a graph module to the bytes of an ONNX file with named, documented dimensions."""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import onnx
import onnxslim
import torch
from torch import Tensor, nn

from runtime.bundle import Shape

OPSET = 20
"""The first with a native Gelu; 23 and later fuse an Attention operator that TensorRT-RTX rejects in fp32."""


@dataclass(frozen=True)
class Signature:
    """Names and shapes of a graph's inputs and output, in order; a named dimension is free."""

    inputs: Mapping[str, Shape]
    outputs: Mapping[str, Shape]


def to_onnx(graph: nn.Module, sample: tuple[Tensor, ...], signature: Signature) -> onnx.ModelProto:
    """Trace `graph` on `sample` and simplify the result.

    Args:
        graph: takes the signature's inputs positionally and returns its one output.
        sample: one tensor an input. No free dimension may be 0 or 1 in it: those would be traced as constants.
        signature: names and shapes.

    Raises:
        ValueError: a sample dimension is 0 or 1 where the signature says free.
    """
    dynamic = []
    for (name, shape), tensor in zip(signature.inputs.items(), sample, strict=True):
        free = {axis for axis, size in enumerate(shape) if isinstance(size, str)}
        if any(tensor.shape[axis] < 2 for axis in free):
            raise ValueError(
                f"sample {name} has shape {tuple(tensor.shape)}, expected at least 2 in axes {sorted(free)}"
            )
        dynamic.append(dict.fromkeys(free, torch.export.Dim.DYNAMIC))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's notes about itself; what matters is compared afterwards
        program = torch.onnx.export(
            graph.eval(),
            sample,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(signature.inputs),
            output_names=list(signature.outputs),
            dynamic_shapes=tuple(dynamic),
            external_data=False,
            verbose=False,
        )
    assert program is not None
    model: onnx.ModelProto = onnxslim.slim(program.model_proto)
    _name_dimensions(model.graph.input, signature.inputs)
    _name_dimensions(model.graph.output, signature.outputs)
    del model.graph.value_info[:]  # names dimensions by the tracer's symbols; every reader infers it again
    onnx.checker.check_model(model, full_check=True)
    return model


def _name_dimensions(values: Iterable[onnx.ValueInfoProto], shapes: Mapping[str, Shape]) -> None:
    for value in values:
        for dimension, size in zip(value.type.tensor_type.shape.dim, shapes[value.name], strict=True):
            if isinstance(size, str):
                dimension.dim_param = size
            else:
                dimension.dim_value = size
