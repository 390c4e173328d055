"""TensorRT as the engine: built on the device, compared with ONNX Runtime, kept, run.

What was run where: the whole way from the ONNX graph to a serialised engine runs in the tests with TensorRT for RTX,
which has the same parser and builder and needs no GPU. Nothing of this module has run on a GPU yet.
"""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from runtime.bundle import Bundle, GraphSpec, InputSpec
from runtime.closing import Closing
from runtime.engines.base import Arrays, check_inputs, closed
from runtime.engines.builder import ProgressBars, build_plan, check_version
from runtime.engines.cache import EngineCache, Identity, default_folder
from runtime.engines.check import compare, require_agreement, sample_inputs
from runtime.engines.cuda import Buffers, CudaMemory, DeviceMemory, Gpu, find_gpu, load_cuda
from runtime.engines.onnx import OnnxRuntimeEngine
from runtime.engines.profile import MOST_WORDS, Profile, segmenter_profile
from runtime.errors import EngineError, WriteError

DTYPES = {"FLOAT": "float32", "HALF": "float16", "INT32": "int32", "INT64": "int64", "BOOL": "bool"}
"""By the names of `tensorrt.DataType`. Its own table of NumPy types breaks with some versions of NumPy."""


class TensorRTEngine(Closing):
    """A graph in TensorRT. Threads take turns.

    Args:
        plan: a serialised engine, built here or verified against its hash.
        spec: the inputs and outputs of the graph that it was built from.
        trt: the module `tensorrt`.
        memory: of the device; closed with the engine.

    Raises:
        EngineError: TensorRT refuses the plan, or the device has not enough memory.
    """

    def __init__(self, plan: bytes, spec: GraphSpec, *, trt: Any, memory: DeviceMemory) -> None:
        self._spec, self._memory, self._buffers = spec, memory, Buffers(memory)
        self._turn = Lock()  # there is one context, one stream and one buffer a name
        logger = trt.Logger(trt.Logger.ERROR)
        self._runtime = trt.Runtime(logger)  # must outlive the engine
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise EngineError(
                f"TensorRT {trt.__version__} refuses the engine of {spec.file}: delete it, it is built again"
            )
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise EngineError(
                f"the GPU has not enough memory for the engine of {spec.file}: choose a smaller --imgsz, or close "
                "other programs"
            )
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        if set(names) != {*spec.inputs, *spec.outputs}:
            raise EngineError(f"the engine of {spec.file} has {sorted(names)}: it was built from another graph")
        self._dtypes = {name: np.dtype(DTYPES[self._engine.get_tensor_dtype(name).name]) for name in names}
        self.most_words: int | None = None
        if "text" in spec.inputs:
            self.most_words = int(self._engine.get_tensor_profile_shape("text", 0)[2][0])

    def infer(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        """Run the graph once.

        Raises:
            EngineError: an input is missing, unknown, of another dtype, or of a shape that the engine was not built
                for; the device failed; or the engine is closed.
        """
        check_inputs(inputs, self._spec)
        with self._turn:
            return self._infer(inputs)

    def _infer(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        if self._context is None:
            raise closed(self._spec)
        sent = {name: self._send(name, array) for name, array in inputs.items()}
        outputs = {name: self._receiver(name) for name in self._spec.outputs}
        if not self._context.execute_async_v3(self._memory.stream):
            shapes = {name: array.shape for name, array in sent.items()}
            raise EngineError(f"the TensorRT engine of {self._spec.file} failed on inputs {shapes}")
        for name, array in outputs.items():
            self._memory.download(array, self._context.get_tensor_address(name))
        self._memory.synchronize()
        return outputs

    def _send(self, name: str, given: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if given.dtype != self._dtypes[name]:
            raise EngineError(f"{self._spec.file} takes {name} as {self._dtypes[name]}, got {given.dtype}")
        array = np.ascontiguousarray(given)
        if not self._context.set_input_shape(name, array.shape):
            least, _, most = self._engine.get_tensor_profile_shape(name, 0)
            raise EngineError(
                f"this engine takes {name} of shapes {tuple(least)} to {tuple(most)}, got {array.shape}: open the "
                "segmenter with all its words, or build another engine with `python -m runtime engine`"
            )
        address = self._buffers.reserve(name, array.shape, array.dtype)
        self._memory.upload(address, array)
        self._context.set_tensor_address(name, address)
        return array  # kept alive until the copy is over

    def _receiver(self, name: str) -> npt.NDArray[Any]:
        array = np.empty(tuple(self._context.get_tensor_shape(name)), self._dtypes[name])
        self._context.set_tensor_address(name, self._buffers.reserve(name, array.shape, array.dtype))
        return array

    def close(self) -> None:
        """Free the engine and its memory; closing again does nothing."""
        with self._turn:
            if self._context is None:
                return
            self._buffers.free()
            self._context = self._engine = self._runtime = None  # in this order
            self._memory.close()


def load_tensorrt() -> Any:
    """Import TensorRT.

    Raises:
        EngineError: it is not installed, or too old.
    """
    try:
        import tensorrt
    except ImportError as error:
        raise EngineError(
            f"provider 'tensorrt' needs the package tensorrt ({error}): on a Jetson, install JetPack and make the "
            "environment with `python -m venv --system-site-packages`; elsewhere `pip install tensorrt`"
        ) from None
    check_version(tensorrt)
    return tensorrt


@dataclass(frozen=True)
class Device:
    """Where engines are built and run.

    Attributes:
        trt: the module `tensorrt`.
        gpu: what engines are specific to.
        memory: opens the memory of one engine.
    """

    trt: Any
    gpu: Gpu
    memory: Callable[[], DeviceMemory]


def find_device() -> Device:
    """Find TensorRT, CUDA and the first GPU.

    Raises:
        EngineError: one of them is missing, too old, or does not fit the others.
    """
    trt, cudart = load_tensorrt(), load_cuda()
    return Device(trt, find_gpu(cudart), lambda: CudaMemory(cudart))


def identity(bundle: Bundle, spec: GraphSpec, trt: Any, gpu: Gpu) -> Identity:
    """Say what an engine of a graph depends on, here."""
    return Identity(
        graph_sha256=bundle.manifest.files[spec.file].sha256,
        precision=spec.precision,
        library=f"{trt.__name__} {trt.__version__}",
        device=gpu.name,
        compute_capability=gpu.compute_capability,
        driver=gpu.driver,
    )


def obtain_plan(
    bundle: Bundle,
    required: Profile,
    profile: Profile,
    *,
    trt: Any,
    gpu: Gpu,
    cache: EngineCache,
    console: Console,
    verify: Callable[[bytes], str],
) -> bytes:
    """Return the engine of a bundle's segmenter from the cache, or build it, verify it and keep it.

    Args:
        bundle: whose segmenter.
        required: sizes that the engine must take.
        profile: sizes that a new engine is built for.
        trt: the module `tensorrt`.
        gpu: the device.
        cache: where engines are kept.
        console: to say on why something is built and how it goes on.
        verify: given a new engine, says how well it does; raises EngineError if not well enough.

    Raises:
        EngineError: no engine could be built, verified or kept.
    """
    manifest = bundle.manifest
    spec = manifest.segmenter
    who = identity(bundle, spec, trt, gpu)
    timing = None if trt.__name__.startswith("tensorrt_rtx") else cache.timing(who.library, who.device)

    def note(text: str) -> None:
        console.print(text, soft_wrap=True, markup=False)

    def build() -> bytes:
        graph = bundle.read(spec.file)
        with ProgressBars(console) as bars:
            known = None if timing is None else timing.read()
            built = build_plan(trt, graph, spec, profile, progress=bars, timing=known)
        note(f"built {len(built.plan) / 1e6:.0f} MB; {verify(built.plan)}")
        if timing is not None:
            try:
                timing.write(built.timing)
            except WriteError as error:  # the engine is what matters
                note(f"the next build starts without timings, which could not be written: {error.reason}")
        return built.plan

    return cache.obtain(manifest.name, who, required, profile, build, note)


def _kept_plan(bundle: Bundle, required: Profile, device: Device, cache: EngineCache) -> bytes:
    """Read an engine that was built and verified here before.

    Raises:
        EngineError: there is none that fits.
    """
    who = identity(bundle, bundle.manifest.segmenter, device.trt, device.gpu)
    plan, reason = cache.find(bundle.manifest.name, who, required)
    if plan is None:
        raise EngineError(f"no engine is built, {reason}: `python -m runtime engine {bundle.path}` builds one")
    return plan


def open_tensorrt(
    bundle: Bundle,
    input_spec: InputSpec,
    *,
    words: int,
    most_words: int = MOST_WORDS,
    batch: int = 1,
    build: bool = True,
    console: Console | None = None,
) -> TensorRTEngine:
    """Open a bundle's segmenter in TensorRT; the first time on a device this builds its engine, which takes minutes.

    Args:
        bundle: whose segmenter.
        input_spec: the bundle's input, with the size that is wanted.
        words: phrases that the engine must take, background words included.
        most_words: phrases that a new engine is built for.
        batch: most images at once.
        build: an engine that is not there; otherwise that is an error.
        console: to say on why something is built and how it goes on; None for standard error.

    Raises:
        EngineError: TensorRT, CUDA or the GPU are missing, no engine could be built, verified or kept, or none is there
            and none may be built.
    """
    device, spec = find_device(), bundle.manifest.segmenter
    required = segmenter_profile(input_spec, words=words, batch=batch)
    profile = segmenter_profile(input_spec, words=max(words, most_words), batch=batch)
    cache = EngineCache(default_folder())
    if not build:
        plan = _kept_plan(bundle, required, device, cache)
        return TensorRTEngine(plan, spec, trt=device.trt, memory=device.memory())

    def verify(plan: bytes) -> str:
        inputs = sample_inputs(bundle, input_spec, profile)
        with (
            TensorRTEngine(plan, spec, trt=device.trt, memory=device.memory()) as engine,
            OnnxRuntimeEngine(bundle.read(spec.file), spec) as reference,
        ):
            comparison = compare(engine, reference, inputs)
        require_agreement(comparison, spec)
        return f"{comparison.label_agreement:.2%} of the labels as with ONNX Runtime"

    plan = obtain_plan(
        bundle,
        required,
        profile,
        trt=device.trt,
        gpu=device.gpu,
        cache=cache,
        console=console or Console(stderr=True, highlight=False),
        verify=verify,
    )
    return TensorRTEngine(plan, spec, trt=device.trt, memory=device.memory())
