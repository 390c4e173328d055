"""The segmenter with fewer operations, traced in float32: the graph that a lower precision starts from."""

import hashlib
import json
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from export.contract import Contract
from export.graph import FoldedGraph, SegmenterGraph
from export.operations import count_in_graph, count_in_pytorch
from export.rewrite import PARTS, Rewrite, rewritten
from export.stages import Stages, weights_key
from export.to_onnx import to_onnx, trace
from runtime.bundle import OperationsRecord


@dataclass(frozen=True, eq=False)
class TracedGraph:
    """A segmenter's graph in float32.

    Attributes:
        reference: what was trained, before any rewriting.
        rewriting: how operations were saved.
        contract: what the graph takes and gives.
        data: the ONNX file.
    """

    reference: SegmenterGraph
    rewriting: Rewrite
    contract: Contract
    data: bytes

    def program(self) -> torch.onnx.ONNXProgram:
        """Trace it again: a program whose tensors PyTorch computes and the file has by the same names."""
        module = _rewritten(self.reference, self.rewriting, self.contract)
        return trace(module, _sample(self.contract), self.contract.signature, self.contract.spec.opset)


def trace_segmenter(reference: SegmenterGraph, rewriting: Rewrite, contract: Contract, stages: Stages) -> TracedGraph:
    """Rewrite a segmenter so that it takes fewer operations, and trace it.

    Args:
        reference: what was trained; is left as it is.
        rewriting: how to save operations.
        contract: what the graph takes and gives.
        stages: keeps the result.

    Raises:
        OptionError: the opset cannot be written, or the model is larger than an ONNX file may be.
    """
    key = [
        weights_key(reference.model.image_encoder),
        weights_key(reference.model.grounder),
        *(rewriting, reference.kp_weight, contract.spec.opset, contract.size),
        hashlib.sha256(contract.words.tobytes()).hexdigest() if contract.folded else None,
        str(contract.signature),
    ]

    def make() -> bytes:
        module = _rewritten(reference, rewriting, contract)
        data: bytes = to_onnx(module, _sample(contract), contract.signature, contract.spec.opset).SerializeToString()
        return data

    return TracedGraph(reference, rewriting, contract, stages.result("tracing the segmenter", key, make))


def _rewritten(reference: SegmenterGraph, rewriting: Rewrite, contract: Contract) -> nn.Module:
    model = rewritten(reference.model, PARTS[rewriting], contract.size)
    graph = SegmenterGraph(model, reference.kp_weight)
    return FoldedGraph(graph, torch.from_numpy(contract.words)) if contract.folded else graph


def _sample(contract: Contract) -> tuple[Tensor, ...]:
    """Draw inputs of shapes that no comparison uses; what is free is neither 0 nor 1."""
    step = contract.input.multiple_of
    size = contract.size or (8 * step, 10 * step)
    if contract.folded:
        return (torch.rand(1, 3, *size),)
    return torch.rand(2, 3, *size), torch.rand(3, contract.channels)


def count_operations(traced: TracedGraph, stages: Stages) -> OperationsRecord:
    """Count multiply-adds of one image in the native size: as trained, and in the graph."""
    contract = traced.contract
    image, text = np.zeros((1, 3, *contract.native), np.float32), contract.rows(1)

    def make() -> bytes:
        before = count_in_pytorch(traced.reference, (image.shape, text.shape))
        after = count_in_graph(onnx.load_from_string(traced.data), contract.inputs(image, text))
        return json.dumps([before, after]).encode()

    key = [hashlib.sha256(traced.data).hexdigest(), contract.native]
    before, after = json.loads(stages.result("counting operations", key, make))
    return OperationsRecord(size=contract.native, plain=before / 1e9, exported=after / 1e9)


__all__ = ["TracedGraph", "count_operations", "trace_segmenter"]
