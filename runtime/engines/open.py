"""Open an engine given as text."""

from runtime.bundle import Bundle
from runtime.engines.base import Engine
from runtime.engines.folded import FoldedWords
from runtime.engines.onnx import OnnxRuntimeEngine
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
            for and cannot be had is an error.
        threads: of one inference on the CPU; None for one per physical core.
        words: rows of text that it has to take, synonyms and background words included; how many it does take,
            `Engine.most_words` says.

    Raises:
        BundleError: a file of the bundle is damaged.
        EngineError: no such provider or size, not on this machine, or the graph is refused.
    """
    if "text" in bundle.manifest.segmenter.inputs:
        return _open_graph(bundle, size=size, provider=provider, threads=threads, words=words)
    inside = Vocabulary.shipped(bundle).embeddings  # first: a damaged file leaves no engine behind
    return FoldedWords(_open_graph(bundle, size=size, provider=provider, threads=threads, words=words), inside)


def _open_graph(bundle: Bundle, *, size: int | None, provider: str, threads: int | None, words: int) -> Engine:
    spec, graph = resized(bundle.manifest.input, size), bundle.manifest.segmenter
    if provider == "tensorrt":
        from runtime.engines.tensorrt import open_tensorrt  # with TensorRT and CUDA, which few machines have

        return open_tensorrt(bundle, spec, words=words)
    return OnnxRuntimeEngine(bundle.read(graph.file), graph, provider=provider, threads=threads)
