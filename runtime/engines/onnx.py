"""A graph in ONNX Runtime."""

import os
from typing import Any

import numpy.typing as npt

from runtime.bundle import GraphSpec
from runtime.closing import Closing
from runtime.engines.base import Arrays, check_inputs, closed
from runtime.errors import EngineError, EngineOptionError
from runtime.forking import has_threads

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxRuntimeEngine(Closing):
    """A graph in ONNX Runtime.

    Args:
        graph: the bytes of a hashed ONNX file.
        spec: its inputs and outputs.
        provider: `cpu` or `cuda`; what is asked for and cannot be had is an error, never a quiet CPU.
        threads: of one inference; None for one per physical core.

    Raises:
        EngineError: ONNX Runtime does not offer the provider, or refuses the graph.
    """

    most_words = None  # any number

    def __init__(self, graph: bytes, spec: GraphSpec, *, provider: str = "cpu", threads: int | None = None) -> None:
        import onnxruntime  # costs 0.2 s: only where a graph is about to run

        options = onnxruntime.SessionOptions()
        # Spinning threads win a little on an idle machine and starve decoding and encoding on a busy one.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.intra_op_num_threads = threads or 0
        options.log_severity_level = 3  # errors; warnings about graph optimisation are not the user's
        wanted = _provider_name(provider, onnxruntime.get_available_providers())
        if provider == "cuda":
            onnxruntime.preload_dlls()  # CUDA and cuDNN may be packages of Python, which the linker does not search
        try:
            session = onnxruntime.InferenceSession(graph, options, providers=[wanted])
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise EngineError(f"ONNX Runtime {onnxruntime.__version__} refused {spec.file}: {error}") from error
        # It falls back to the CPU without raising when a provider's libraries are missing.
        if wanted not in session.get_providers():
            raise EngineError(
                f"provider {provider!r} was asked for and ONNX Runtime started {session.get_providers()}: "
                "the libraries of that provider are missing or do not match its version"
            )
        self._session: Any | None = session
        self._process = has_threads(session)
        self._spec = spec

    def infer(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        """Run the graph once.

        Raises:
            EngineError: an input is missing, unknown or of the wrong shape, the graph failed, or the engine is closed.
        """
        session = self._session  # read once: another thread may close the engine
        if session is None:
            raise closed(self._spec)
        if os.getpid() != self._process:
            raise EngineError(
                f"{self._spec.file} was opened by a process that then forked, and its threads stayed there: open a "
                "segmenter in each process, or start processes by `spawn`"
            )
        check_inputs(inputs, self._spec)
        try:
            outputs = session.run(list(self._spec.outputs), dict(inputs))
        except Exception as error:
            shapes = {name: array.shape for name, array in inputs.items()}
            raise EngineError(f"{self._spec.file} failed on inputs {shapes}: {error}") from error
        return dict(zip(self._spec.outputs, outputs, strict=True))

    def close(self) -> None:
        """Free the session, as soon as no thread is in it; closing again does nothing."""
        self._session = None


def _provider_name(provider: str, available: list[str]) -> str:
    if provider not in PROVIDERS:
        raise EngineOptionError(f"provider {provider!r} given, expected one of auto, {', '.join(PROVIDERS)}, tensorrt")
    if PROVIDERS[provider] not in available:
        raise EngineError(
            f"provider {provider!r} was asked for and this ONNX Runtime offers only {', '.join(available)}: "
            "replace it with `pip uninstall onnxruntime && pip install onnxruntime-gpu`, or use --provider cpu"
        )
    return PROVIDERS[provider]
