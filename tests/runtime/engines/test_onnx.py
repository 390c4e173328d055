"""The ONNX Runtime engine. Oracles: a graph written by hand, providers that this machine lacks."""

import warnings

import numpy as np
import pytest

from runtime.bundle import GraphSpec
from runtime.engines.onnx import OnnxRuntimeEngine
from runtime.errors import EngineError

onnx = pytest.importorskip("onnx")


@pytest.fixture
def doubler() -> tuple[bytes, GraphSpec]:
    """y = x + x for x (n,2) float32."""
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "doubler", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    spec = GraphSpec(file="g.onnx", precision="fp32", opset=20, inputs={"x": ("n", 2)}, outputs={"y": ("n", 2)})
    return model.SerializeToString(), spec


def test_it_computes(doubler: tuple[bytes, GraphSpec]) -> None:
    with OnnxRuntimeEngine(*doubler, threads=1) as engine:
        for n in (1, 3):
            x = np.arange(2 * n, dtype=np.float32).reshape(n, 2)
            assert np.array_equal(engine.infer({"x": x})["y"], 2 * x)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, r"takes \['x'\], got \[\]"),
        ({"x": np.zeros((1, 3), np.float32)}, r"x of shape \('n', 2\), got \(1, 3\)"),
        ({"x": np.zeros(2, np.float32)}, r"got \(2,\)"),
        ({"x": np.zeros((0, 2), np.float32)}, r"got \(0, 2\)"),
        ({"x": np.zeros((1, 2), np.float64)}, "failed on inputs"),
    ],
)
def test_wrong_inputs_are_explained(doubler: tuple[bytes, GraphSpec], inputs: dict, message: str) -> None:
    with OnnxRuntimeEngine(*doubler) as engine, pytest.raises(EngineError, match=message):
        engine.infer(inputs)


def test_it_may_be_closed_twice_and_is_not_used_afterwards(doubler: tuple[bytes, GraphSpec]) -> None:
    with OnnxRuntimeEngine(*doubler) as engine:
        engine.close()
    with pytest.raises(EngineError, match=r"the engine of g\.onnx is closed"):
        engine.infer({"x": np.zeros((1, 2), np.float32)})


@pytest.mark.parametrize("graph", [b"", b"<html>", b"\x08\x09" * 50])
def test_what_is_no_graph_is_refused(doubler: tuple[bytes, GraphSpec], graph: bytes) -> None:
    with pytest.raises(EngineError, match=r"refused g\.onnx"):
        OnnxRuntimeEngine(graph, doubler[1])


def test_a_provider_that_is_not_there_is_an_error(doubler: tuple[bytes, GraphSpec]) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(
        EngineError, match="'cuda' was asked for and this ONNX Runtime offers only .*CPUExecutionProvider"
    ):
        OnnxRuntimeEngine(*doubler, provider="cuda")
    with pytest.raises(EngineError, match="provider 'tpu' given, expected one of auto, cpu, cuda, tensorrt"):
        OnnxRuntimeEngine(*doubler, provider="tpu")


def test_a_provider_that_falls_back_is_an_error(
    doubler: tuple[bytes, GraphSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime itself, told that it has CUDA, whose libraries are not there: it warns, and takes the CPU."""
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
    with (
        warnings.catch_warnings(),
        pytest.raises(EngineError, match=r"'cuda' was asked for and ONNX Runtime started \['CPUExecutionProvider'\]"),
    ):
        warnings.simplefilter("ignore")
        OnnxRuntimeEngine(*doubler, provider="cuda")
