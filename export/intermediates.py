"""Where an ONNX graph goes wrong: its tensors against PyTorch's, name by name."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Deviation:
    """How far a tensor is off.

    Attributes:
        name: in the graph.
        module: of the model that computes it.
        error: largest difference, as a share of the largest number that PyTorch has there; infinite where the graph
            has numbers that are not finite.
    """

    name: str
    module: str
    error: float

    def __str__(self) -> str:
        return f"{self.name} in {self.module} is off by {self.error:.2g} of its largest number"


class _Recorder(torch.fx.Interpreter):
    """Runs a traced program and keeps every tensor under the name that the ONNX graph gives it, too."""

    def __init__(self, program: torch.fx.GraphModule) -> None:
        super().__init__(program)
        self.tensors: dict[str, npt.NDArray[Any]] = {}
        self.modules: dict[str, str] = {}

    def run_node(self, n: torch.fx.Node) -> Any:
        value = super().run_node(n)
        if n.op == "call_function" and isinstance(value, torch.Tensor) and value.is_floating_point():
            self.tensors[n.name] = value.detach().numpy()
            stack = [path for path, _ in n.meta.get("nn_module_stack", {}).values()]
            self.modules[n.name] = (stack[-1] if stack else "") or "the graph itself"
        return value


def worst_tensors(
    program: torch.onnx.ONNXProgram, model: onnx.ModelProto, inputs: Arrays, count: int = 5
) -> tuple[Deviation, ...]:
    """Compare the tensors that a traced program and an ONNX graph share by name.

    Args:
        program: traced; runs in PyTorch, in float32.
        model: made from it, simplified or in another precision.
        inputs: of both, by name, in order.
        count: of the worst.

    Returns:
        The worst, in the order in which they are computed.
    """
    assert program.exported_program is not None
    recorder = _Recorder(program.exported_program.module())
    with torch.inference_mode():
        recorder.run(*(torch.from_numpy(array) for array in inputs.values()))
    shared = [name for node in model.graph.node for name in node.output if name in recorder.tensors]
    given = run_with_outputs(model, inputs, shared)
    deviations = [
        Deviation(name, recorder.modules[name], _relative_error(given[name], recorder.tensors[name])) for name in shared
    ]
    worst = set(sorted(deviations, key=lambda d: -d.error)[:count])
    return tuple(deviation for deviation in deviations if deviation in worst)


def _relative_error(given: npt.NDArray[Any], expected: npt.NDArray[Any]) -> float:
    if given.shape != expected.shape or not np.isfinite(given).all():
        return float("inf")
    return float(np.abs(given.astype(np.float32) - expected).max() / max(float(np.abs(expected).max()), 1e-12))


def run_with_outputs(
    model: onnx.ModelProto, inputs: Arrays, names: Iterable[str], kind: int = TensorProto.UNDEFINED
) -> dict[str, npt.NDArray[Any]]:
    """Run a graph as it is written, unoptimised, and return the tensors of these names.

    Args:
        model: is left as it is.
        inputs: by name.
        names: of tensors that nodes compute.
        kind: element type of all of them; undefined lets ONNX Runtime find out.
    """
    import onnxruntime

    wanted = list(dict.fromkeys(names))
    probed = deepcopy(model)
    del probed.graph.output[:]
    for name in wanted:
        value = onnx.ValueInfoProto(name=name)
        if kind != TensorProto.UNDEFINED:
            value = helper.make_tensor_value_info(name, kind, None)
        probed.graph.output.append(value)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(probed.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip(wanted, session.run(wanted, dict(inputs)), strict=True))
