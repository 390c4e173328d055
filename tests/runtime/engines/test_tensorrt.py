"""The TensorRT runner without a GPU. Oracle: ONNX Runtime, once directly and once behind a stand-in for the device.

The stand-in keeps "device" memory in host arrays and lets ONNX Runtime compute, so that names, shapes, dtypes, buffers
and copies are exercised; that TensorRT itself computes the same can be seen on a GPU only.
"""

import ctypes
import io
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from runtime import Segmenter
from runtime.bundle import Bundle, GraphSpec
from runtime.engines.cache import EngineCache
from runtime.engines.cuda import Buffers, CudaMemory, Gpu, call, find_gpu, load_cuda
from runtime.engines.onnx import OnnxRuntimeEngine
from runtime.engines.profile import segmenter_profile
from runtime.engines.tensorrt import DTYPES, Device, TensorRTEngine, load_tensorrt, obtain_plan
from runtime.errors import EngineError, VocabularyError

ORIN = Gpu("Orin", "8.7", "CUDA 12.6")


class HostMemory:
    """Device memory in host arrays; knows what was freed, and refuses addresses that it never gave."""

    stream = 7

    def __init__(self) -> None:
        self.held: dict[int, np.ndarray] = {}
        self.allocations = 0
        self.closed = 0

    def allocate(self, size: int) -> int:
        block = np.full(size, 255, np.uint8)
        self.allocations += 1
        self.held[block.ctypes.data] = block
        return int(block.ctypes.data)

    def free(self, address: int) -> None:
        del self.held[address]

    def upload(self, address: int, array: np.ndarray) -> None:
        assert array.flags.c_contiguous
        assert array.nbytes <= self.held[address].nbytes
        ctypes.memmove(address, array.ctypes.data, array.nbytes)

    def download(self, array: np.ndarray, address: int) -> None:
        assert array.nbytes <= self.held[address].nbytes
        ctypes.memmove(array.ctypes.data, address, array.nbytes)

    def synchronize(self) -> None:
        pass

    def close(self) -> None:
        self.closed += 1


class StandInContext:
    """What an execution context does, computed by ONNX Runtime."""

    def __init__(self, engine: "StandInEngine") -> None:
        self._engine, self._shapes, self._addresses = engine, {}, {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        least, _, most = self._engine.shapes[name]
        self._shapes[name] = tuple(shape)
        return all(low <= size <= high for low, size, high in zip(least, shape, most, strict=True))

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        batch, _, height, width = self._shapes["image"]
        stride = self._engine.stride
        return batch, self._shapes["text"][0], height // stride, width // stride

    def set_tensor_address(self, name: str, address: int) -> None:
        self._addresses[name] = address

    def get_tensor_address(self, name: str) -> int:
        return self._addresses[name]

    def _array(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        kind = ctypes.c_float * int(np.prod(shape))
        return np.ctypeslib.as_array(kind.from_address(self._addresses[name])).reshape(shape)

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == HostMemory.stream
        time.sleep(0.001)  # a device works beside the host
        inputs = {name: self._array(name, shape).copy() for name, shape in self._shapes.items()}
        masks = self._engine.onnx.infer(inputs)["masks"] + np.float32(self._engine.error)
        self._array("masks", masks.shape)[:] = masks
        return self._engine.works


class StandInEngine:
    """What a deserialised engine says about itself."""

    works = True
    error = 0.0

    def __init__(self, onnx: OnnxRuntimeEngine, shapes: dict[str, Any], stride: int) -> None:
        self.onnx, self.shapes, self.stride = onnx, shapes, stride
        self.names = ["image", "text", "masks"]
        self.num_io_tensors = 3

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_dtype(self, name: str) -> Any:
        return SimpleNamespace(name="FLOAT")

    def get_tensor_profile_shape(self, name: str, profile: int) -> Any:
        return self.shapes[name]

    def create_execution_context(self) -> StandInContext:
        return StandInContext(self)


def stand_in(engine: StandInEngine | None) -> Any:
    """A module `tensorrt` whose only engine is this one."""

    class Logger:
        ERROR = 0

        def __init__(self, level: int) -> None: ...

    runtime = SimpleNamespace(deserialize_cuda_engine=lambda plan: engine)
    return SimpleNamespace(__name__="tensorrt", __version__="10.3.0", Logger=Logger, Runtime=lambda _: runtime)


@pytest.fixture
def spec(tiny: Bundle) -> GraphSpec:
    return tiny.manifest.segmenter


@pytest.fixture
def onnx(tiny: Bundle, spec: GraphSpec):
    with OnnxRuntimeEngine(tiny.read(spec.file), spec, threads=1) as engine:
        yield engine


@pytest.fixture
def device(tiny: Bundle, spec: GraphSpec, onnx: OnnxRuntimeEngine) -> StandInEngine:
    shapes = segmenter_profile(tiny.manifest.input, words=40, batch=2).shapes(spec)
    return StandInEngine(onnx, shapes, tiny.manifest.output.stride)


def inputs(tiny: Bundle, batch: int, height: int, width: int, words: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(batch + words)
    text = random.standard_normal((words, tiny.manifest.output.channels)).astype(np.float32)
    image = random.standard_normal((batch, 3, height, width)).astype(np.float32)
    return {"image": image, "text": text / np.linalg.norm(text, axis=1, keepdims=True)}


def test_it_gives_what_the_device_computed(tiny: Bundle, spec: GraphSpec, device: StandInEngine) -> None:
    """Sizes go up and down again; outputs belong to the caller; everything is given back."""
    memory = HostMemory()
    results = []
    with TensorRTEngine(b"plan", spec, trt=stand_in(device), memory=memory) as engine:
        for sizes in ((1, 256, 256, 3), (2, 320, 480, 21), (1, 256, 256, 1), (1, 256, 256, 3)):
            given = inputs(tiny, *sizes)
            results.append((engine.infer(given)["masks"], device.onnx.infer(given)["masks"]))
        allocations = memory.allocations
        engine.infer(inputs(tiny, 2, 320, 480, 21))
        assert memory.allocations == allocations
        assert len(memory.held) == 3
    for got, expected in results:
        assert np.array_equal(got, expected)
    assert memory.held == {}
    assert memory.closed == 1
    engine.close()
    assert memory.closed == 1
    with pytest.raises(EngineError, match=r"the engine of segmenter\.onnx is closed"):
        engine.infer(given)


def test_threads_take_turns(tiny: Bundle, spec: GraphSpec, device: StandInEngine) -> None:
    """There is one context with one set of buffers. Oracle: one thread."""
    given = [inputs(tiny, 1, *size) for size in ((192, 256, 3), (256, 192, 5), (192, 192, 1))]
    with TensorRTEngine(b"plan", spec, trt=stand_in(device), memory=HostMemory()) as engine:
        expected = [device.onnx.infer(one)["masks"] for one in given]
        with ThreadPoolExecutor(4) as pool:
            got = list(pool.map(lambda turn: engine.infer(given[turn % 3])["masks"], range(60)))
    for turn, masks in enumerate(got):
        assert np.array_equal(masks, expected[turn % 3])


def test_data_types_have_the_names_that_are_looked_up() -> None:
    """Oracle: the enumeration and the table of NumPy types of TensorRT for RTX."""
    trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX has wheels for x86-64 only")
    for name, dtype in DTYPES.items():
        assert np.dtype(trt.nptype(getattr(trt.DataType, name))) == np.dtype(dtype)
        assert getattr(trt.DataType, name).name == name


def test_strided_inputs_are_made_contiguous(tiny: Bundle, spec: GraphSpec, device: StandInEngine) -> None:
    given = inputs(tiny, 1, 256, 256, 3)
    turned = {**given, "image": given["image"][:, :, ::-1, ::-1]}
    with TensorRTEngine(b"plan", spec, trt=stand_in(device), memory=HostMemory()) as engine:
        expected = device.onnx.infer({**turned, "image": turned["image"].copy()})["masks"]
        assert np.array_equal(engine.infer(turned)["masks"], expected)


def test_what_the_engine_does_not_take_is_explained(tiny: Bundle, spec: GraphSpec, device: StandInEngine) -> None:
    good = inputs(tiny, 1, 256, 256, 3)
    many = inputs(tiny, 1, 256, 256, 41)
    with TensorRTEngine(b"plan", spec, trt=stand_in(device), memory=HostMemory()) as engine:
        assert engine.most_words == 40
        for given, message in [
            (many, r"takes text of shapes \(1, 256\) to \(40, 256\), got \(41, 256\): open the segmenter with all"),
            (inputs(tiny, 3, 256, 256, 3), r"takes image of shapes .*, got \(3, 3, 256, 256\)"),
            ({**good, "image": good["image"].astype(np.float64)}, "takes image as float32, got float64"),
            ({"image": good["image"]}, r"takes \['image', 'text'\], got \['image'\]"),
            ({**good, "text": good["text"][:0]}, r"got \(0, 256\)"),
        ]:
            with pytest.raises(EngineError, match=message):
                engine.infer(given)
        assert engine.infer(good)["masks"].shape[1] == 3  # none of that has hurt it
        device.works = False
        with pytest.raises(
            EngineError, match=r"engine of segmenter\.onnx failed on inputs \{'image': \(1, 3, 256, 256\)"
        ):
            engine.infer(good)


def test_refused_plans_and_foreign_engines_are_explained(spec: GraphSpec, device: StandInEngine) -> None:
    with pytest.raises(EngineError, match=r"TensorRT 10\.3\.0 refuses the engine of segmenter\.onnx"):
        TensorRTEngine(b"plan", spec, trt=stand_in(None), memory=HostMemory())
    device.names = ["image", "tokens", "masks"]
    with pytest.raises(EngineError, match="it was built from another graph"):
        TensorRTEngine(b"plan", spec, trt=stand_in(device), memory=HostMemory())
    device.create_execution_context = lambda: None
    with pytest.raises(EngineError, match="the GPU has not enough memory"):
        TensorRTEngine(b"plan", spec, trt=stand_in(device), memory=HostMemory())


def obtained(
    tiny: Bundle, cache: EngineCache, verify=lambda plan: "fine", words: int = 32, trt: Any = None
) -> tuple[bytes, str]:
    trt = trt or pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX has wheels for x86-64 only")
    screen = io.StringIO()
    profile = segmenter_profile(tiny.manifest.input, words=words)
    console = Console(file=screen, width=1000)
    plan = obtain_plan(tiny, profile, profile, trt=trt, gpu=ORIN, cache=cache, console=console, verify=verify)
    return plan, screen.getvalue()


def test_from_the_bundle_to_a_kept_engine(tiny: Bundle, tmp_path: Path) -> None:
    """With the real parser and builder of TensorRT for RTX."""
    cache = EngineCache(tmp_path / "engines")
    plan, said = obtained(tiny, cache)
    assert "building a TensorRT engine for tiny, which takes minutes once: there is none yet" in said
    assert "MB; fine" in said
    again, said = obtained(tiny, cache)
    assert (again, said) == (plan, "")
    _, said = obtained(tiny, cache, words=48)
    assert "it takes 1 to 32 words, needed are 1 to 48" in said
    (first, _) = cache.records()
    assert first[1].identity.library.startswith("tensorrt_rtx 1.")


BUILD = """
import hashlib, sys
from pathlib import Path
from rich.console import Console
import tensorrt_rtx
from runtime.bundle import Bundle
from runtime.engines.cuda import Gpu
from runtime.engines.cache import EngineCache
from runtime.engines.profile import segmenter_profile
from runtime.engines.tensorrt import obtain_plan

tiny = Bundle.open("tiny")
profile = segmenter_profile(tiny.manifest.input, words=32)
cache, console, gpu = EngineCache(Path(sys.argv[1])), Console(stderr=True, width=1000), Gpu("Orin", "8.7", "CUDA 12.6")
print("ready", flush=True)
sys.stdin.readline()
given = {"trt": tensorrt_rtx, "gpu": gpu, "cache": cache, "console": console, "verify": lambda plan: "fine"}
plan = obtain_plan(tiny, profile, profile, **given)
print(hashlib.sha256(plan).hexdigest())
"""


def test_of_two_processes_with_the_real_builder_one_builds(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX has wheels for x86-64 only")
    command = [sys.executable, "-c", BUILD, str(tmp_path / "engines")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    builders = [subprocess.Popen(command, **pipes) for _ in range(2)]
    for builder in builders:
        assert builder.stdout.readline() == "ready\n"
    for builder in builders:
        builder.stdin.write("go\n")
        builder.stdin.flush()
    (first, first_said), (second, second_said) = (builder.communicate(timeout=300) for builder in builders)
    assert first == second
    assert len(first.strip()) == 64, first_said + second_said
    assert (first_said + second_said).count("building a TensorRT engine for tiny") == 1
    assert len(list((tmp_path / "engines").glob("*.plan"))) == 1


class Renamed:
    """TensorRT for RTX under the name of TensorRT, which keeps timings."""

    __name__ = "tensorrt"
    __version__ = "10.3.0"

    def __getattr__(self, name: str) -> Any:
        rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX has wheels for x86-64 only")
        return getattr(rtx, name)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of RTX, where timing caches do nothing
def test_timings_are_kept_beside_the_engines_and_not_vital(tiny: Bundle, tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / "engines")
    obtained(tiny, cache, trt=Renamed())
    (path,) = cache.folder.glob("timing.*")
    assert cache.timing("tensorrt 10.3.0", "Orin").read() != b""
    path.unlink()
    path.mkdir()  # nothing can take this name
    plan, said = obtained(tiny, cache, words=48, trt=Renamed())
    assert "the next build starts without timings, which could not be written: Is a directory" in said
    assert obtained(tiny, cache, words=48, trt=Renamed()) == (plan, "")


class BuilderAndDevice(Renamed):
    """The builder of TensorRT for RTX, and a stand-in for what runs its engines."""

    def __init__(self, device: StandInEngine) -> None:
        self.loaded: list[int] = []

        def deserialize(plan: bytes) -> StandInEngine:
            self.loaded.append(len(plan))
            return device

        self.Runtime = lambda _: SimpleNamespace(deserialize_cuda_engine=deserialize)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_segmenter_builds_verifies_keeps_and_runs_an_engine(
    tiny: Bundle,
    device: StandInEngine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Oracle: the same segmenter on the CPU."""
    trt = BuilderAndDevice(device)
    monkeypatch.setenv("TCL_EDGE_ENGINES", str(tmp_path / "engines"))
    monkeypatch.setattr("runtime.engines.tensorrt.find_device", lambda: Device(trt, ORIN, HostMemory))
    frame = np.random.default_rng(0).integers(0, 255, (90, 160, 3), np.uint8)
    monkeypatch.setattr("runtime.engines.open._tensorrt_missing", lambda: "")
    with Segmenter(tiny, "car, road", provider="auto", threads=1) as cpu:
        expected = cpu(frame)
        assert "no engine is built, there is none yet" in dict(cpu.provider.refused)["tensorrt"]
    assert trt.loaded == [], "nobody waits for minutes unasked"
    for start in ("first", "second"):
        with Segmenter(tiny, "car, road", provider="tensorrt") as segmenter:
            result = segmenter(frame)
            with pytest.raises(VocabularyError, match="41 words given, .* this engine was built for at most 40"):
                segmenter.set_classes([f"{number} cars" for number in range(41)], background=None)
            assert np.array_equal(result.mask, expected.mask)
            np.testing.assert_allclose(result.soft_masks, expected.soft_masks, atol=1e-5)
            segmenter.set_classes("tree")  # no build
            assert segmenter(frame).names == ("background", "tree")
        said = capfd.readouterr().err
        assert ("100.00% of the labels as with ONNX Runtime" in said) == (start == "first")
    assert len(trt.loaded) == 3  # to verify it, to run it, and to run it again
    with Segmenter(tiny, "car, road", provider="auto") as segmenter:
        assert str(segmenter.provider) == "tensorrt"
        assert np.array_equal(segmenter(frame).mask, expected.mask)
    device.error = 0.1
    monkeypatch.setenv("TCL_EDGE_ENGINES", str(tmp_path / "others"))
    with pytest.raises(EngineError, match="its masks differ by 0.1 on average"):
        Segmenter(tiny, "car, road", provider="tensorrt")
    assert not list((tmp_path / "others").glob("*.plan"))


def test_an_engine_that_fails_its_comparison_leaves_nothing(tiny: Bundle, tmp_path: Path) -> None:
    def fails(plan: bytes) -> str:
        raise EngineError("other labels")

    cache = EngineCache(tmp_path / "engines")
    with pytest.raises(EngineError, match="other labels"):
        obtained(tiny, cache, fails)
    assert not list(cache.folder.glob("*.plan"))
    assert not list(cache.folder.glob("*.json"))


def test_buffers_grow_and_are_given_back() -> None:
    memory = HostMemory()
    buffers = Buffers(memory)
    first = buffers.reserve("x", (2, 3), np.float32)
    assert memory.held[first].nbytes == 24
    assert buffers.reserve("x", (1, 3), np.float32) == first
    second = buffers.reserve("x", (4, 3), np.float32)
    assert memory.held[second].nbytes == 48
    assert first not in memory.held or first == second
    assert memory.held[buffers.reserve("empty", (0,), np.float32)].nbytes == 1
    buffers.free()
    assert memory.held == {}


def has_gpu() -> bool:
    try:
        find_gpu(load_cuda())
    except EngineError:
        return False
    return True


@pytest.mark.skipif(has_gpu(), reason="this machine has a GPU")
def test_without_a_gpu_it_is_an_error_and_never_the_cpu(tiny: Bundle) -> None:
    with pytest.raises(EngineError, match="provider 'tensorrt' needs"):
        Segmenter(tiny, "car", provider="tensorrt")
    with pytest.raises(EngineError, match="needs an NVIDIA GPU with its driver: CUDA error"):
        find_gpu(load_cuda())


@pytest.mark.skipif(has_gpu(), reason="this machine has a GPU")
@pytest.mark.parametrize(
    "command", [("engine", "tiny"), ("test://pattern?frames=1", "o.png", "--provider", "tensorrt")]
)
def test_the_commands_fail_without_a_gpu(command: tuple[str, ...], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "runtime", *command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "error: provider 'tensorrt' needs" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_without_tensorrt_the_fix_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(EngineError, match=r"needs the package tensorrt .*--system-site-packages"):
        load_tensorrt()
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(EngineError, match="needs the package cuda-bindings .*JetPack 6"):
        load_cuda()
    old = SimpleNamespace(__name__="tensorrt", __version__="8.6.1")
    monkeypatch.setitem(sys.modules, "tensorrt", old)
    with pytest.raises(EngineError, match="expected 10 or later"):
        load_tensorrt()


def test_the_gpu_is_described(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    properties = SimpleNamespace(name=b"Orin\0", major=8, minor=7)
    cudart = SimpleNamespace(
        cudaGetDeviceCount=lambda: (0, 1),
        cudaGetDeviceProperties=lambda _: (0, properties),
        cudaDriverGetVersion=lambda: (0, 12060),
    )
    version = tmp_path / "version"
    version.write_text("NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Release Build\n")
    monkeypatch.setattr("runtime.engines.cuda.KERNEL_DRIVER", version)
    assert find_gpu(cudart) == Gpu("Orin", "8.7", "CUDA 12.6, 540.4.0")
    cudart.cudaGetDeviceCount = lambda: (0, 0)
    with pytest.raises(EngineError, match="there is none: use --provider cpu"):
        find_gpu(cudart)


def test_a_gpu_without_room_says_what_helps() -> None:
    """A runtime of CUDA that has made a stream, and has no memory left."""
    text = {"cudaGetErrorString": lambda code: (0, b"out of memory")}
    cudart = SimpleNamespace(cudaStreamCreate=lambda: (0, 7), cudaMalloc=lambda size: (2, None), **text)
    with pytest.raises(
        EngineError, match=r"^12 MB of GPU memory: CUDA error 2: out of memory; choose a smaller --imgsz"
    ):
        CudaMemory(cudart).allocate(12_000_000)


def test_cuda_errors_are_raised_with_their_text() -> None:
    cudart = SimpleNamespace(cudaGetErrorString=lambda code: (0, b"out of memory"))
    assert call(cudart, (0, 5)) == 5
    assert call(cudart, (0,)) is None
    with pytest.raises(EngineError, match="CUDA error 2: out of memory"):
        call(cudart, (2, None))
