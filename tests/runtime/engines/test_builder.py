"""The TensorRT builder. Oracle: TensorRT for RTX, the same parser and builder, which compiles without a GPU.

That a graph compiles here is strong evidence for TensorRT 10 and 11, and no proof; that an engine computes what it
should can be seen on a GPU only.
"""

import io
import subprocess
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from runtime.bundle import Bundle, GraphSpec
from runtime.engines.builder import Built, ProgressBars, build_plan, check_version
from runtime.engines.profile import Profile, Range, segmenter_profile
from runtime.errors import EngineError

onnx = pytest.importorskip("onnx")
trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX has wheels for x86-64 only")


class Phases:
    """Keeps what it is told; fails or asks to stop where a test wants that."""

    def __init__(self, on_step=lambda: None) -> None:
        self.begun: list[tuple[str, str | None, int]] = []
        self.finished: list[str] = []
        self.steps = 0
        self._on_step = on_step

    def begin(self, phase: str, parent: str | None, steps: int) -> None:
        self.begun.append((phase, parent, steps))

    def step(self, phase: str, step: int) -> None:
        self.steps += 1
        self._on_step()

    def finish(self, phase: str) -> None:
        self.finished.append(phase)


def half(graph: bytes) -> bytes:
    """The same graph with its arithmetic in float16; as shipped, only its weights are stored so."""
    from onnxconverter_common.float16 import convert_float_to_float16

    model = onnx.load_from_string(graph)
    stored = {weight.name: weight for weight in model.graph.initializer}
    for node in [node for node in model.graph.node if node.op_type == "Cast" and node.input[0] in stored]:
        weight = onnx.numpy_helper.to_array(stored[node.input[0]]).astype(np.float32)
        stored[node.input[0]].CopyFrom(onnx.numpy_helper.from_array(weight, node.output[0]))
        model.graph.node.remove(node)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a line for every weight below float16's smallest number
        return convert_float_to_float16(model, keep_io_types=True).SerializeToString()


def fixed(graph: bytes, spec: GraphSpec, sizes: dict[str, int]) -> tuple[bytes, GraphSpec]:
    """The same graph without free dimensions."""
    model = onnx.load_from_string(graph)
    for value in model.graph.input:
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_value = sizes[dimension.dim_param]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    model = onnx.shape_inference.infer_shapes(model)
    inputs = {name: tuple(sizes.get(d, d) for d in shape) for name, shape in spec.inputs.items()}
    return model.SerializeToString(), spec.model_copy(update={"inputs": inputs})


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_the_shipped_graph_compiles(kind: str, precision: str, tiny: Bundle) -> None:
    pytest.importorskip("onnxconverter_common")
    spec = tiny.manifest.segmenter
    graph = tiny.read(spec.file)
    if precision == "fp16":
        graph = half(graph)
    profile = segmenter_profile(tiny.manifest.input, words=64, batch=2)
    if kind == "static":
        graph, spec = fixed(graph, spec, {"batch": 1, "height": 288, "width": 512, "words": 21})
        profile = Profile({})
    phases = Phases()
    built = build_plan(trt, graph, spec, profile, progress=phases)
    assert len(built.plan) > 1_000_000
    assert built.timing == b""
    assert phases.begun[0][0:2] == ("Building engine", None)
    assert sorted(phase for phase, _, _ in phases.begun) == sorted(phases.finished)
    assert phases.steps > 50


def small(operator: str = "Relu", dtype: int = 1, **attributes: object) -> tuple[bytes, GraphSpec]:
    """One operator on x (n,4)."""
    x, y = (onnx.helper.make_tensor_value_info(name, dtype, ["n", 4]) for name in "xy")
    node = onnx.helper.make_node(operator, ["x"], ["y"], **attributes)
    graph = onnx.helper.make_graph([node], "small", [x], [y])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=9)
    spec = GraphSpec(file="s.onnx", precision="fp32", opset=20, inputs={"x": ("n", 4)}, outputs={"y": ("n", 4)})
    return model.SerializeToString(), spec


PROFILE = Profile({"n": Range(1, 2, 8)})


def test_eight_bits_compile_from_the_graph_alone() -> None:
    """A convolution between QuantizeLinear and DequantizeLinear: no calibrator, no switch."""
    make, array = onnx.helper.make_node, onnx.numpy_helper.from_array
    nodes = [
        make("QuantizeLinear", ["x", "xs", "zero"], ["xq"]),
        make("DequantizeLinear", ["xq", "xs", "zero"], ["xd"]),
        make("DequantizeLinear", ["wq", "ws", "zero"], ["wd"]),
        make("Conv", ["xd", "wd"], ["y"], pads=[1, 1, 1, 1]),
    ]
    weights = np.random.default_rng(0).integers(-127, 128, (8, 3, 3, 3)).astype(np.int8)
    stored = {"xs": np.float32(0.02), "ws": np.float32(0.01), "zero": np.int8(0), "wq": weights}
    x, y = (onnx.helper.make_tensor_value_info(name, 1, ["n", c, 32, 32]) for name, c in (("x", 3), ("y", 8)))
    graph = onnx.helper.make_graph(nodes, "q", [x], [y], [array(v, name) for name, v in stored.items()])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=9)
    spec = GraphSpec(
        file="q.onnx", precision="int8", opset=20, inputs={"x": ("n", 3, 32, 32)}, outputs={"y": ("n", 8, 32, 32)}
    )
    assert build_plan(trt, model.SerializeToString(), spec, PROFILE, progress=Phases()).plan


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_damaged_timings_are_left_aside() -> None:
    assert build_plan(trt, *small(), PROFILE, progress=Phases(), timing=b"no timings at all").plan


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (b"", r"takes \[\], its manifest says \['x'\]: export again"),  # to the parser, a graph of nothing
        (b"<html>", r"takes \[\], its manifest says \['x'\]: export again"),
        (small()[0][:-20], r"cannot parse s\.onnx"),
        (small("NoSuchOperator")[0], r"cannot parse s\.onnx: .*NoSuchOperator"),
    ],
)
def test_what_cannot_be_parsed_is_explained(graph: bytes, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        build_plan(trt, graph, small()[1], PROFILE, progress=Phases())


def test_a_profile_that_does_not_fit_is_explained() -> None:
    graph, spec = small()
    with pytest.raises(EngineError, match=r"free dimensions \['n'\], known are \['words'\]"):
        build_plan(trt, graph, spec, Profile({"words": Range(1, 1, 1)}), progress=Phases())
    with pytest.raises((EngineError, ValueError, RuntimeError), match=r"."):
        build_plan(trt, graph, spec, Profile({"n": Range(8, 2, 1)}), progress=Phases())
    with pytest.raises(EngineError, match=r"takes \['x'\], its manifest says \['z'\]"):
        build_plan(trt, graph, spec.model_copy(update={"inputs": {"z": ("n", 4)}}), PROFILE, progress=Phases())


def test_old_versions_are_refused() -> None:
    old = SimpleNamespace(__name__="tensorrt", __version__="8.6.1")
    with pytest.raises(EngineError, match=r"TensorRT 8\.6\.1 is installed, expected 10 or later"):
        check_version(old)
    for version in ("10.3.0", "11.4.0.106"):
        check_version(SimpleNamespace(__name__="tensorrt", __version__=version))


def test_a_bar_that_cannot_be_drawn_does_not_end_the_build() -> None:
    def broken() -> None:
        raise RuntimeError("no screen")

    assert build_plan(trt, *small(), PROFILE, progress=Phases(broken)).plan


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of RTX, where timing caches do nothing
def test_a_timing_cache_goes_through_the_build() -> None:
    first = build_plan(trt, *small(), PROFILE, progress=Phases(), timing=b"")
    assert first.timing
    assert build_plan(trt, *small(), PROFILE, progress=Phases(), timing=first.timing) != Built(b"", b"")


def test_ctrl_c_ends_a_build(tiny: Bundle) -> None:
    """The signal comes at the first step; the build must stop long before its last."""
    code = (
        "import os, signal, tensorrt_rtx as trt\n"
        "from runtime.bundle import Bundle\n"
        "from runtime.engines.profile import segmenter_profile\n"
        "from runtime.engines.builder import build_plan\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background\n"
        "class Phases:\n"
        "    steps = 0\n"
        "    def begin(self, *_): pass\n"
        "    def finish(self, *_): pass\n"
        "    def step(self, phase, step):\n"
        "        Phases.steps += 1\n"
        "        if Phases.steps == 1:\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "        import time; time.sleep(0.02)\n"
        "bundle = Bundle.open('tiny'); spec = bundle.manifest.segmenter\n"
        "profile = segmenter_profile(bundle.manifest.input, words=64)\n"
        "try: build_plan(trt, bundle.read(spec.file), spec, profile, progress=Phases()); print('built')\n"
        "except KeyboardInterrupt: print('stopped', Phases.steps)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    word, steps = done.stdout.split()
    assert word == "stopped", done.stderr
    assert 1 <= int(steps) < 200  # of some 300, each 20 ms long


def test_bars_follow_the_phases() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80)
    with ProgressBars(console) as bars:
        build_plan(trt, *small(), PROFILE, progress=bars)
        bars.begin("Timing", None, 4)
        bars.begin("Kernels", "Timing", 2)
        bars.step("Kernels", 0)
        (_, task) = bars._progress.tasks
        assert (task.description, task.completed, task.total) == ("  Kernels", 1, 2)
        bars.finish("Kernels")
        bars.step("Kernels", 1)
    assert "Timing" in screen.getvalue()
    with ProgressBars(Console(file=io.StringIO())) as bars:
        bars.begin("Timing", None, 4)
