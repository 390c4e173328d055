"""From a frame to a segmentation: preprocess -> engine -> merge synonyms -> (frames before) -> fused upsampling."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, get_args, overload

import numpy as np
import numpy.typing as npt

from runtime.bundle import Bundle, InputSpec, Refinement
from runtime.closing import Closing
from runtime.engines.base import Engine
from runtime.engines.folded import FoldedWords
from runtime.engines.onnx import OnnxRuntimeEngine
from runtime.errors import EngineError, VocabularyError
from runtime.frame import BGR, Preprocessor, as_bgr, input_size, resized
from runtime.kernels.pamr import refined
from runtime.kernels.upsample import blend, label_dtype, upsample_argmax, upsample_guided, upsample_overlay
from runtime.overlay import palette
from runtime.segmentation import ALPHA, Segmentation
from runtime.temporal import Temporal
from runtime.words.text_encoder import BundleTextEncoder
from runtime.words.vocabulary import Vocabulary
from runtime.words.word_file import Background, Words, vocabulary_for

REFINEMENTS = get_args(Refinement)


@dataclass(frozen=True, eq=False)
class _Words:
    """What changes together when the words change."""

    vocabulary: Vocabulary
    colours: npt.NDArray[np.uint8]

    @property
    def unpainted(self) -> int | None:
        return 0 if self.vocabulary.has_background else None


def _colours(vocabulary: Vocabulary) -> npt.NDArray[np.uint8]:
    """Colour the words alike with and without a background, which itself is grey where anything shows it."""
    colours = palette(len(vocabulary.classes))
    grey = np.full((1, 3), 128, np.uint8)
    return np.concatenate([grey, colours]) if vocabulary.has_background else colours


def _engine(bundle: Bundle, spec: InputSpec, *, provider: str, threads: int | None, phrases: int) -> Engine:
    graph = bundle.manifest.segmenter
    engine: Engine
    if provider == "tensorrt":
        from runtime.engines.tensorrt import open_tensorrt  # with TensorRT and CUDA, which few machines have

        engine = open_tensorrt(bundle, spec, words=phrases)
    else:
        engine = OnnxRuntimeEngine(bundle.read(graph.file), graph, provider=provider, threads=threads)
    if "text" in graph.inputs:
        return engine
    return FoldedWords(engine, Vocabulary.shipped(bundle).embeddings)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Segmenter(Closing):
    """Segment frames by words.

        with Segmenter("tiny", classes=["cat", "sofa|couch"]) as segmenter:
            result = segmenter(frame_bgr)

    Args:
        bundle: a shipped bundle's name, a path, or an opened bundle.
        classes: words to segment, as "cat, sofa|couch:0.6" or one a list item; the path of a word file made by
            `python -m runtime words`; None for the bundle's own. A class with a threshold of its own takes part only
            where its soft mask exceeds it.
        background: "default" for the word file's or else the bundle's words, less those that mean the same as a
            class; other words that count as background; None for no background at all, so that every pixel gets a
            word unless a class has its own threshold.
        threshold: soft mask in [0, 1] below which a pixel is background; None for the word file's or the bundle's
            own, which does not apply when `background` is None.
        provider: `cpu`, `cuda`, or `tensorrt`, which builds an engine when it is first used on a device.
        threads: of the network, and of the kernels before and after it, never both at once; None for one per core.
        size: side in pixels of a square with as many pixels as the network sees; None for the bundle's own.
        refine: "edge" lets borders follow the brightness between the cells of the mask grid; "pamr" moves them to
            edges of colour over many cells (paper, section 4), which takes time; "none"; None for the bundle's own.
        temporal: lets masks depend on the frames before; a segmenter then is for one stream at a time.

    Raises:
        BundleError, EngineError, VocabularyError: see `runtime.errors`.
    """

    def __init__(
        self,
        bundle: str | Path | Bundle = "tiny",
        classes: Words | None = None,
        *,
        background: Background = "default",
        threshold: float | None = None,
        provider: str = "cpu",
        threads: int | None = None,
        size: int | None = None,
        refine: Refinement | None = None,
        temporal: Temporal | None = None,
    ) -> None:
        if refine is not None and refine not in REFINEMENTS:
            raise EngineError(f"refinement {refine!r} given, expected one of {', '.join(REFINEMENTS)}")
        self.bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        manifest = self.bundle.manifest
        self._refine: Refinement = manifest.output.refine if refine is None else refine
        shipped = Vocabulary.shipped(self.bundle)
        self._encoder = BundleTextEncoder(self.bundle, shipped.rows)
        self._shipped_classes = shipped.classes
        self._most_words: int | None = None  # phrases that the engine takes; any number until there is one
        self.set_classes(classes, background=background, threshold=threshold)
        self._temporal = temporal
        self._threads = threads or _cores()
        self._input = resized(manifest.input, size)
        self._preprocess = Preprocessor(self._input, threads=self._threads)
        phrases = len(self._words.vocabulary.embeddings)
        self._engine = _engine(self.bundle, self._input, provider=provider, threads=threads, phrases=phrases)
        self._most_words = getattr(self._engine, "most_words", None)

    @property
    def names(self) -> tuple[str, ...]:
        """The word of each mask index."""
        return self._words.vocabulary.names

    def set_classes(
        self, classes: Words | None, *, background: Background = "default", threshold: float | None = None
    ) -> None:
        """Change the words, from the next frame on. Arguments as for the constructor; on an error nothing changes.

        May be called from another thread: a frame is segmented with the old words or with the new, never a mixture.
        """
        vocabulary = vocabulary_for(
            self.bundle,
            self._shipped_classes if classes is None else classes,
            self._encoder,
            background=background,
            threshold=threshold,
        )
        phrases = len(vocabulary.embeddings)
        if self._most_words is not None and phrases > self._most_words:
            raise VocabularyError(
                f"{phrases} words given, synonyms and background words included, and this engine was built for at most "
                f"{self._most_words}: `python -m runtime engine {self.bundle.path} --words {phrases}`"
            )
        self._words = _Words(vocabulary, _colours(vocabulary))

    def __call__(
        self,
        frame: npt.NDArray[Any],
        *,
        overlay: bool = False,
        alpha: float = ALPHA,
        reuse: Segmentation | None = None,
    ) -> Segmentation:
        """Segment one frame; one at a time.

        Args:
            frame: BGR (H,W,3) uint8, or anything that `runtime.frame.as_bgr` takes.
            overlay: also blend the colours in the pass that upsamples, which makes `plot` almost free.
            alpha: opacity of that blend.
            reuse: an earlier result that nobody needs any more. Its arrays are overwritten where they have the right
                shape, which saves fetching memory from the system for every frame.

        Raises:
            FrameError: the array is not a picture.
            EngineError: the network failed.
        """
        words = self._words  # read once: set_classes may replace it at any moment
        begin = perf_counter()
        bgr = as_bgr(frame)
        preprocessed = begin

        def network() -> npt.NDArray[np.float32]:
            nonlocal preprocessed
            image = self._preprocess(bgr)
            preprocessed = perf_counter()
            masks = self._engine.infer({"image": image, "text": words.vocabulary.embeddings})["masks"][0]
            return words.vocabulary.merge(masks)

        soft_masks = network() if self._temporal is None else self._temporal(bgr, words, network)
        inferred = perf_counter()
        if self._refine == "pamr":
            network_size = input_size((bgr.shape[0], bgr.shape[1]), self._input)
            soft_masks = refined(
                soft_masks,
                bgr,
                network_size,
                background=words.vocabulary.constant,
                thresholds=words.vocabulary.thresholds,
                threads=self._threads,
            )
        mask, blended = self._label(soft_masks, bgr, words, alpha if overlay else None, reuse)
        done = perf_counter()
        seconds = {"pre": preprocessed - begin, "infer": inferred - preprocessed, "post": done - inferred}
        return Segmentation(
            mask=mask,
            names=words.vocabulary.names,
            frame=bgr,
            soft_masks=soft_masks,
            threshold=words.vocabulary.constant,
            word_thresholds=words.vocabulary.thresholds,
            colours=words.colours,
            unpainted=words.unpainted,
            speed={stage: 1000 * value for stage, value in seconds.items()},
            blended=blended,
            blended_alpha=alpha,
        )

    def _label(
        self,
        masks: npt.NDArray[np.float32],
        frame: BGR,
        words: _Words,
        alpha: float | None,
        reuse: Segmentation | None,
    ) -> tuple[npt.NDArray[Any], BGR | None]:
        """Find the class of every pixel, and the blended frame unless `alpha` is None."""
        settings: dict[str, Any] = {
            "background": words.vocabulary.constant,
            "thresholds": words.vocabulary.thresholds,
            "threads": self._threads,
        }
        size = (frame.shape[0], frame.shape[1])
        fits = reuse is not None and reuse.mask.shape == size and reuse.mask.dtype == label_dtype(len(words.colours))
        mask = reuse.mask if reuse is not None and fits else np.empty(size, label_dtype(len(words.colours)))
        if alpha is None:
            if self._refine == "edge":
                return upsample_guided(masks, frame, out=mask, **settings), None
            return upsample_argmax(masks, size, out=mask, **settings), None
        paint: dict[str, Any] = {"alpha": alpha, "skip": words.unpainted}
        blended = reuse.blended if reuse is not None and fits else None
        if blended is None:
            blended = np.empty(frame.shape, np.uint8)
        if self._refine == "edge":
            upsample_guided(masks, frame, out=mask, **settings)
            return mask, blend(frame, mask, words.colours, out=blended, **paint)
        return upsample_overlay(masks, frame, words.colours, out=(mask, blended), **paint, **settings)

    @overload
    def predict(self, source: Any, *, stream: Literal[True]) -> Iterator[Segmentation]: ...
    @overload
    def predict(self, source: Any, *, stream: Literal[False] = False) -> list[Segmentation]: ...
    def predict(self, source: Any, *, stream: bool = False) -> Iterator[Segmentation] | list[Segmentation]:
        """Segment an array or every frame of a source (see `runtime.sources.open.open_source`).

        Args:
            source: a frame, or a source as text.
            stream: yield results one by one instead of collecting them in a list.
        """
        results = self._stream(source)
        return results if stream else list(results)

    def _stream(self, source: Any) -> Iterator[Segmentation]:
        from runtime.sources.open import open_source

        if isinstance(source, np.ndarray):
            yield self(source)
            return
        if self._temporal is not None:
            self._temporal.reset()
        with open_source(str(source)) as frames:
            for frame in frames:
                yield self(frame.image)

    def close(self) -> None:
        """Free the engine."""
        self._engine.close()
