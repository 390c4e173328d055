"""Open an engine given as text."""

import importlib.util
from dataclasses import dataclass

from runtime.bundle import Bundle
from runtime.engines.base import Engine
from runtime.engines.check import compare, require_agreement, sample_inputs
from runtime.engines.choice import AUTO, Candidate, Choice, first_that_works
from runtime.engines.folded import FoldedWords
from runtime.engines.onnx import PROVIDERS, OnnxRuntimeEngine
from runtime.engines.profile import segmenter_profile
from runtime.frame import resized
from runtime.words.vocabulary import Vocabulary


def open_engine(
    bundle: Bundle, *, size: int | None = None, provider: str = "cpu", threads: int | None = None, words: int = 1
) -> Engine:
    """Open an engine for the segmenter of a bundle: `image` (1,3,H,W), `text` (N,C) -> `masks` (1,N,h,w).

    Args:
        bundle: whose segmenter; a graph that has its words inside is used like one that takes them.
        size: of the network's input, as for `Segmenter`; TensorRT builds engines for a range around it.
        provider: `cpu`, `cuda`, or `tensorrt`, which builds an engine when it is first used on a device; what is asked
            for and cannot be had is an error. `auto` is described at `open_chosen`.
        threads: of one inference on the CPU; None for one per physical core.
        words: rows of text that it has to take, synonyms and background words included; how many it does take,
            `Engine.most_words` says.

    Raises:
        BundleError: a file of the bundle is damaged.
        EngineError: no such provider or size, not on this machine, or the graph is refused.
    """
    return open_chosen(bundle, size=size, provider=provider, threads=threads, words=words)[0]


def open_chosen(
    bundle: Bundle, *, size: int | None = None, provider: str = AUTO, threads: int | None = None, words: int = 1
) -> tuple[Engine, Choice]:
    """Open an engine as `open_engine` does, and say which provider it is of.

    With `auto` that is TensorRT where an engine was built on this device already (`python -m runtime engine`: nobody
    waits for minutes unasked), else CUDA where it starts and has its labels in common with the CPU on a frame of the
    shipped clip, else the CPU.

    Args:
        bundle: as for `open_engine`.
        size: as for `open_engine`.
        provider: `auto`, or a provider that is then the choice.
        threads: as for `open_engine`.
        words: as for `open_engine`.

    Raises:
        BundleError, EngineError: as for `open_engine`.
    """
    folded = None
    if "text" not in bundle.manifest.segmenter.inputs:
        folded = Vocabulary.shipped(bundle).embeddings  # first: a damaged file leaves no engine behind
    graph = _Graph(bundle, size, threads, words)
    if provider == AUTO:
        engine, choice = first_that_works(graph.candidates())
    else:
        engine, choice = graph.open(provider), Choice(provider)
    return (engine if folded is None else FoldedWords(engine, folded)), choice


@dataclass(frozen=True)
class _Graph:
    """The segmenter of a bundle, and how it is to be run."""

    bundle: Bundle
    size: int | None
    threads: int | None
    words: int

    def open(self, provider: str, *, build: bool = True) -> Engine:
        spec, graph = resized(self.bundle.manifest.input, self.size), self.bundle.manifest.segmenter
        if provider == "tensorrt":
            from runtime.engines.tensorrt import open_tensorrt  # with TensorRT and CUDA, which few machines have

            return open_tensorrt(self.bundle, spec, words=self.words, build=build)
        return OnnxRuntimeEngine(self.bundle.read(graph.file), graph, provider=provider, threads=self.threads)

    def candidates(self) -> list[Candidate]:
        return [
            Candidate("tensorrt", _tensorrt_missing, lambda: self.open("tensorrt", build=False)),
            Candidate("cuda", _cuda_missing, self._checked_cuda),
            Candidate("cpu", lambda: "", lambda: self.open("cpu")),
        ]

    def _checked_cuda(self) -> Engine:
        """Open CUDA and hold it to the CPU: that it starts does not say that it has kernels for this GPU."""
        spec = resized(self.bundle.manifest.input, self.size)
        inputs = sample_inputs(self.bundle, spec, segmenter_profile(spec, words=max(self.words, 1)))
        engine = self.open("cuda")
        try:
            with self.open("cpu") as reference:
                comparison = compare(engine, reference, inputs)
            require_agreement(comparison, self.bundle.manifest.segmenter, advice="see `python -m runtime doctor`")
        except BaseException:
            engine.close()
            raise
        return engine


def _tensorrt_missing() -> str:
    return "" if importlib.util.find_spec("tensorrt") else "not installed"


def _cuda_missing() -> str:
    import onnxruntime

    there = PROVIDERS["cuda"] in onnxruntime.get_available_providers()
    return "" if there else f"this ONNX Runtime has no {PROVIDERS['cuda']}"
