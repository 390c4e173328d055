"""The gate that a graph passes before it is written. Oracle: graphs with damage done on purpose."""

import math
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from export.comparison import Comparison, run_pytorch, verdict
from export.contract import segmenter_contract
from export.errors import ParityError, PrecisionError
from export.graph import SegmenterGraph
from export.options import Options
from export.parity import Tolerance
from export.pictures import load_pictures
from export.quantization import Agreement
from export.stages import Stages
from export.subject import Subject
from export.tracing import TracedGraph, trace_segmenter

INT8 = Tolerance(max_error=1.0, label_agreement=0.95)


@pytest.fixture
def traced(subject: Subject, stages: Stages) -> TracedGraph:
    words = np.eye(3, 16, dtype=np.float32)
    contract = segmenter_contract(subject, Options(), words)
    return trace_segmenter(SegmenterGraph(subject.model), "exact", contract, stages)


@pytest.fixture
def comparison(traced: TracedGraph, stages: Stages) -> Comparison:
    return run_pytorch(traced.reference, traced.contract, load_pictures(None), Options(), stages)


def in_int8(comparison: Comparison) -> Comparison:
    """The same, as if the graph were said to be in int8: only the gate's rules differ."""
    contract = comparison.contract
    spec = contract.spec.model_copy(update={"precision": "int8"})
    return replace(comparison, contract=replace(contract, spec=spec), tolerance=INT8)


def scaled(traced: TracedGraph, factor: float) -> onnx.ModelProto:
    """The graph with its largest weight multiplied."""
    model = onnx.load_from_string(traced.data)
    weight = max(model.graph.initializer, key=lambda w: np.prod(w.dims))
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(factor), weight.name))
    return model


def test_shapes_are_others_than_those_traced(comparison: Comparison) -> None:
    assert [(case.image.shape, len(case.text)) for case in comparison.cases] == [
        ((1, 3, 56, 104), 1),
        ((1, 3, 56, 104), 3),
        ((3, 3, 32, 40), 21),
        ((2, 3, 72, 48), 128),
        ((1, 3, 64, 64), 21),
    ]
    assert [case.num_labels for case in comparison.cases] == [1, 3, 3, 3, 3]  # the other rows are no words


def test_a_graph_that_does_what_pytorch_does_passes(
    traced: TracedGraph, comparison: Comparison, stages: Stages
) -> None:
    records = verdict(traced.data, comparison, traced, stages)
    assert len(records) == len(comparison.cases)
    assert max(record.max_error for record in records) < 1e-5
    assert comparison.agreement(scaled(traced, 1)).labels > 0.999


def test_labels_that_differ_in_int8_are_refused_unless_forced(
    traced: TracedGraph, comparison: Comparison, stages: Stages
) -> None:
    data = scaled(traced, -8).SerializeToString()
    with pytest.raises(PrecisionError, match=r"in int8 too many labels differ: label agreement .*, or add --force"):
        verdict(data, in_int8(comparison), traced, stages)
    assert verdict(data, in_int8(comparison), traced, stages, force=True)
    with pytest.raises(ParityError, match=r"differs from PyTorch: 56x104, batch 1, 1 words.*Worst tensors"):
        verdict(data, comparison, traced, stages, force=True)  # not what --force is for


def test_masks_that_are_no_numbers_pass_no_gate(traced: TracedGraph, comparison: Comparison, stages: Stages) -> None:
    broken = scaled(traced, math.nan)
    assert comparison.agreement(broken) == Agreement(labels=0.0, mean_error=math.inf)
    for force in (False, True):
        with pytest.raises(ParityError, match=r"max error nan .*expected finite numbers.*Worst tensors.* off by inf"):
            verdict(broken.SerializeToString(), in_int8(comparison), traced, stages, force=force)
