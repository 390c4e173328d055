"""From a frame to a segmentation: preprocess -> engine -> merge synonyms -> fused upsampling."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Any, Literal, get_args, overload

import cv2
import numpy as np
import numpy.typing as npt

from runtime.bundle import Bundle, InputSpec
from runtime.engine import Engine, OnnxRuntimeEngine
from runtime.errors import EngineError
from runtime.frame import BGR, Preprocessor, as_bgr
from runtime.overlay import palette
from runtime.pamr import contenders, pamr
from runtime.segmentation import ALPHA, Segmentation
from runtime.text_encoder import BundleTextEncoder
from runtime.upsample import blend, upsample_argmax, upsample_guided, upsample_overlay
from runtime.vocabulary import Vocabulary
from runtime.word_file import Background, Words, vocabulary_for

Refinement = Literal["none", "edge", "pamr"]
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


def _resized(spec: InputSpec, size: int | None) -> InputSpec:
    if size is None:
        return spec
    if isinstance(spec.size, tuple):
        height, width = spec.size
        raise EngineError(f"this bundle was exported for {height} x {width} pixels only: leave the size out")
    if not spec.multiple_of <= size <= 4096:
        raise EngineError(f"network size {size} given, expected {spec.multiple_of} to 4096 pixels")
    return spec.model_copy(update={"size": size})


def _refined(
    masks: npt.NDArray[np.float32], frame: BGR, input_size: tuple[int, int], vocabulary: Vocabulary
) -> npt.NDArray[np.float32]:
    """Refine masks (K,h,w) at a quarter of the network's input, TCL's own mask resolution; finer masks stay as fine."""
    height, width = (max(side // 4, grid) for side, grid in zip(input_size, masks.shape[1:], strict=True))
    if (height, width) != masks.shape[1:]:
        masks = np.stack([cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR) for mask in masks])
    if vocabulary.thresholds is not None:  # a mask that is exceeded everywhere may win where that one takes no part
        return pamr(masks, frame)
    return pamr(masks, frame, contenders=contenders(masks, background=vocabulary.constant))


class Segmenter:
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
        provider: `cpu` or `cuda`.
        threads: of one inference; None for one per physical core.
        size: side in pixels of a square with as many pixels as the network sees; None for the bundle's own.
        refine: "edge" lets borders follow the brightness between the cells of the mask grid; "pamr" moves them to
            edges of colour over many cells (paper, section 4), which takes time; "none".

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
        refine: Refinement = "none",
    ) -> None:
        if refine not in REFINEMENTS:
            raise EngineError(f"refinement {refine!r} given, expected one of {', '.join(REFINEMENTS)}")
        self._refine = refine
        self.bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        manifest = self.bundle.manifest
        shipped = Vocabulary.from_bytes(self.bundle.read(manifest.vocabulary), channels=manifest.output.channels)
        self._encoder = BundleTextEncoder(self.bundle, shipped.rows)
        self._shipped_classes = shipped.classes
        self.set_classes(classes, background=background, threshold=threshold)
        self._preprocess = Preprocessor(_resized(manifest.input, size))
        self._engine: Engine = OnnxRuntimeEngine(
            self.bundle.read(manifest.segmenter.file), manifest.segmenter, provider=provider, threads=threads
        )

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
        self._words = _Words(vocabulary, _colours(vocabulary))

    def __call__(self, frame: npt.NDArray[Any], *, overlay: bool = False, alpha: float = ALPHA) -> Segmentation:
        """Segment one frame.

        Args:
            frame: BGR (H,W,3) uint8, or anything that `runtime.frame.as_bgr` takes.
            overlay: also blend the colours in the pass that upsamples, which makes `plot` almost free.
            alpha: opacity of that blend.

        Raises:
            FrameError: the array is not a picture.
            EngineError: the network failed.
        """
        words = self._words  # read once: set_classes may replace it at any moment
        begin = perf_counter()
        bgr = as_bgr(frame)
        image = self._preprocess(bgr)
        ready = perf_counter()
        masks = self._engine.infer({"image": image, "text": words.vocabulary.embeddings})["masks"][0]
        inferred = perf_counter()
        soft_masks, constant = words.vocabulary.merge(masks), words.vocabulary.constant
        if self._refine == "pamr":
            soft_masks = _refined(soft_masks, bgr, (image.shape[2], image.shape[3]), words.vocabulary)
        thresholds, blended = words.vocabulary.thresholds, None
        if self._refine == "edge":
            mask = upsample_guided(soft_masks, bgr, background=constant, thresholds=thresholds)
            if overlay:
                blended = blend(bgr, mask, words.colours, alpha=alpha, skip=words.unpainted)
        elif overlay:
            mask, blended = upsample_overlay(
                soft_masks,
                bgr,
                words.colours,
                alpha=alpha,
                background=constant,
                thresholds=thresholds,
                skip=words.unpainted,
            )
        else:
            size = bgr.shape[0], bgr.shape[1]
            mask = upsample_argmax(soft_masks, size, background=constant, thresholds=thresholds)
        done = perf_counter()
        seconds = {"pre": ready - begin, "infer": inferred - ready, "post": done - inferred}
        return Segmentation(
            mask=mask,
            names=words.vocabulary.names,
            frame=bgr,
            soft_masks=soft_masks,
            threshold=constant,
            word_thresholds=thresholds,
            colours=words.colours,
            unpainted=words.unpainted,
            speed={stage: 1000 * value for stage, value in seconds.items()},
            blended=blended,
            blended_alpha=alpha,
        )

    @overload
    def predict(self, source: Any, *, stream: Literal[True]) -> Iterator[Segmentation]: ...
    @overload
    def predict(self, source: Any, *, stream: Literal[False] = False) -> list[Segmentation]: ...
    def predict(self, source: Any, *, stream: bool = False) -> Iterator[Segmentation] | list[Segmentation]:
        """Segment an array or every frame of a source (see `runtime.sources.open_source`).

        Args:
            source: a frame, or a source as text.
            stream: yield results one by one instead of collecting them in a list.
        """
        results = self._stream(source)
        return results if stream else list(results)

    def _stream(self, source: Any) -> Iterator[Segmentation]:
        from runtime.sources import open_source

        if isinstance(source, np.ndarray):
            yield self(source)
            return
        with open_source(str(source)) as frames:
            for frame in frames:
                yield self(frame.image)

    def close(self) -> None:
        """Free the engine."""
        self._engine.close()

    def __enter__(self) -> "Segmenter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
