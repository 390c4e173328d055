"""Precision inside the ONNX graph: the arithmetic, or only the storage, in 16 bits.

TensorRT 11 has no precision switches any more, so the graph itself must say what is computed in which type.
"""

import warnings

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxconverter_common.float16 import convert_float_to_float16

SMALL = 1024
"""Elements. Smaller tensors are not worth a cast: biases and scales, under one per cent of the file."""


def half_arithmetic(model: onnx.ModelProto) -> onnx.ModelProto:
    """Compute in float16; inputs and outputs stay float32."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one line for every weight below float16's smallest number
        converted: onnx.ModelProto = convert_float_to_float16(copy, keep_io_types=True)
    return converted


def half_storage(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store float32 weights as float16 and cast them back when the graph is loaded: half the file, the same speed.

    ONNX Runtime folds the casts into constants once, so the arithmetic is that of the float32 graph with rounded
    weights.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    casts = []
    for weight in copy.graph.initializer:
        if weight.data_type != TensorProto.FLOAT or np.prod(weight.dims) < SMALL:
            continue
        name = weight.name
        half = numpy_helper.to_array(weight).astype(np.float16)
        weight.CopyFrom(numpy_helper.from_array(half, f"{name}.fp16"))
        casts.append(helper.make_node("Cast", [weight.name], [name], to=TensorProto.FLOAT, name=f"{name}.cast"))
    nodes = [*casts, *copy.graph.node]
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    onnx.checker.check_model(copy, full_check=True)
    return copy
