"""From a frame to a segmentation: preprocess -> engine -> merge synonyms -> (frames before) -> fused upsampling."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, get_args, overload

import numpy as np
import numpy.typing as npt

from runtime.bundle import Bundle, Refinement
from runtime.closing import Closing
from runtime.colours import colours_of
from runtime.cores import usable_cores
from runtime.engines.base import Engine
from runtime.engines.choice import Choice
from runtime.engines.open import open_chosen
from runtime.errors import EngineOptionError, VocabularyError
from runtime.frame import BGR, Preprocessor, as_bgr, input_size, resized
from runtime.kernels.labels import LabelMap, LabelRule, Paint, label_dtype
from runtime.kernels.pamr import refined
from runtime.kernels.upsample import upsample_argmax, upsample_guided, upsample_overlay
from runtime.segmentation import ALPHA, Segmentation
from runtime.temporal import Temporal
from runtime.words.text_encoder import BundleTextEncoder
from runtime.words.vocabulary import Background, Vocabulary, Words, parse_background
from runtime.words.word_file import vocabulary_for

REFINEMENTS = get_args(Refinement)

MOST_THREADS = 512
"""Of one segmenter: more than any machine has cores for, and each takes memory."""


class Kept(Enum):
    """Stands for a setting that stays as it is."""

    KEPT = "kept"


KEPT: Literal[Kept.KEPT] = Kept.KEPT


@dataclass(frozen=True)
class _Asked:
    """What the user said about the background last; the words do not change it."""

    background: tuple[str, ...] | Literal["default"] | None
    threshold: float | None


@dataclass(frozen=True, eq=False)
class _Words:
    """What changes together when the words change."""

    asked: _Asked
    vocabulary: Vocabulary
    rule: LabelRule
    colours: npt.NDArray[np.uint8]
    unpainted: int | None

    @classmethod
    def of(cls, asked: _Asked, vocabulary: Vocabulary, *, threads: int) -> "_Words":
        rule = LabelRule(vocabulary.constant, vocabulary.thresholds, threads)
        background = vocabulary.has_background
        colours = colours_of([word.name for word in vocabulary.classes], background=background)
        return cls(asked, vocabulary, rule, colours, 0 if background else None)


class Segmenter(Closing):
    """Segment frames by words.

        with Segmenter("tiny", classes=["cat", "sofa|couch"]) as segmenter:
            result = segmenter(frame_bgr)

    Several threads may use one at the same time, and get what they would get alone: frames share nothing but the engine
    and the words.

    Args:
        bundle: a shipped bundle's name, a path, or an opened bundle.
        classes: words to segment, as "cat, sofa|couch:0.6" or one a list item; the path of a word list (.txt, .names,
            .csv), or of a word file made by `python -m runtime words`; None for the bundle's own. A class with a
            threshold of its own takes part only where its soft mask exceeds it. One called `background` is index 0.
        background: "default" for the word file's or else the bundle's words, less those that mean the same as a
            class; other words that count as background; None or "none" for no background at all, so that every pixel
            gets a word unless a class has its own threshold.
        threshold: soft mask in [0, 1] below which a pixel is background; None for the word file's or the bundle's
            own, which does not apply when `background` is None.
        provider: of the engine that is opened: `cpu`, which is also None, so that a program does the same everywhere;
            `cuda`; `tensorrt`, which builds an engine when it is first used on a device; or `auto`, the fastest that is
            here and passes its check (see `runtime.engines.open.open_chosen`).
        threads: of the network, and of the kernels before and after it, never both at once; None for one per core.
        size: side in pixels of a square with as many pixels as the network sees; None for the bundle's own.
        refine: "edge" lets borders follow the brightness between the cells of the mask grid; "pamr" moves them to
            edges of colour over many cells (paper, section 4), which takes time; "none"; None for the bundle's own.
        temporal: lets masks depend on the frames before. Then the segmenter is for one stream: threads take turns, and
            each frame has the one whose turn was before as its past.
        engine: an opened engine of the bundle's segmenter, for instance one that several segmenters share (see
            `runtime.open_engine`), or a fake one in a test (`runtime.FakeEngine`). It stays open when the segmenter is
            closed: whoever opened it closes it. None opens one, which is closed with the segmenter.

    Attributes:
        provider: what runs the network and, of `auto`, why nothing faster does; None where an engine was given.

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
        provider: str | None = None,
        threads: int | None = None,
        size: int | None = None,
        refine: Refinement | None = None,
        temporal: Temporal | None = None,
        engine: Engine | None = None,
    ) -> None:
        if refine is not None and refine not in REFINEMENTS:
            raise EngineOptionError(f"refinement {refine!r} given, expected one of {', '.join(REFINEMENTS)}")
        if threads is not None and not 1 <= threads <= MOST_THREADS:
            raise EngineOptionError(f"{threads} threads given, expected 1 to {MOST_THREADS}")
        if engine is not None and provider is not None:
            raise EngineOptionError(
                f"provider {provider!r} and an engine given, which has its own: leave one of them out"
            )
        self.bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        manifest = self.bundle.manifest
        self._input = resized(manifest.input, size)
        self._refine: Refinement = manifest.output.refine if refine is None else refine
        self._threads = threads or usable_cores()
        self._preprocess = Preprocessor(self._input, threads=self._threads)
        self._temporal = temporal
        shipped = Vocabulary.shipped(self.bundle)
        self._encoder = BundleTextEncoder(self.bundle, shipped.rows)
        self._shipped_classes = shipped.classes
        asked = _Asked(parse_background(background), threshold)
        vocabulary = self._vocabulary(classes, asked)
        self._owns_engine = engine is None
        self.provider: Choice | None = None
        if engine is None:
            rows = len(vocabulary.embeddings)
            engine, self.provider = open_chosen(
                self.bundle, size=size, provider=provider or "cpu", threads=threads, words=rows
            )
        self._engine = engine
        self._words = self._accepted(asked, vocabulary)

    @property
    def vocabulary(self) -> Vocabulary:
        """The words that the next frame is segmented with."""
        return self._words.vocabulary

    @property
    def names(self) -> tuple[str, ...]:
        """The word of each mask index."""
        return self._words.vocabulary.names

    def set_classes(
        self,
        classes: Words | None,
        *,
        background: Background | Literal[Kept.KEPT] = KEPT,
        threshold: float | Literal[Kept.KEPT] | None = KEPT,
    ) -> None:
        """Change the words, from the next frame on; on an error nothing changes.

        May be called from another thread: a frame is segmented with the old words or with the new, never a mixture.

        Args:
            classes: as for the constructor.
            background: as for the constructor; left out, it is what was given last, there or here.
            threshold: as for the constructor; left out, it is what was given last, unless `background` is now given as
                None, which takes the threshold away, too.

        Raises:
            VocabularyError: the words are refused.
        """
        asked = self._words.asked
        if background is not KEPT:
            words = parse_background(background)
            asked = _Asked(words, None if words is None else asked.threshold)
        if threshold is not KEPT:
            asked = replace(asked, threshold=threshold)
        self._words = self._accepted(asked, self._vocabulary(classes, asked))

    def _vocabulary(self, classes: Words | None, asked: _Asked) -> Vocabulary:
        words = self._shipped_classes if classes is None else classes
        return vocabulary_for(self.bundle, words, self._encoder, background=asked.background, threshold=asked.threshold)

    def _accepted(self, asked: _Asked, vocabulary: Vocabulary) -> _Words:
        rows, most = len(vocabulary.embeddings), self._engine.most_words
        if most is not None and rows > most:
            raise VocabularyError(
                f"{rows} words given, synonyms and background words included, and this engine was built for at most "
                f"{most}: `python -m runtime engine {self.bundle.path} --words {rows}`"
            )
        return _Words.of(asked, vocabulary, threads=self._threads)

    def __call__(
        self,
        frame: npt.NDArray[Any],
        *,
        overlay: bool = False,
        alpha: float = ALPHA,
        reuse: Segmentation | None = None,
    ) -> Segmentation:
        """Segment one frame. Threads may do so at the same time: see the class.

        Args:
            frame: BGR (H,W,3) uint8, or anything that `runtime.frame.as_bgr` takes.
            overlay: also blend the colours in the pass that upsamples, which makes `plot` almost free.
            alpha: opacity of that blend.
            reuse: an earlier result that no thread needs any more. Its arrays are overwritten where they have the right
                shape, which saves fetching memory from the system for every frame.

        Raises:
            FrameError: the array is not a picture.
            EngineError: the network failed.
        """
        return self._segment(frame, self._words, overlay=overlay, alpha=alpha, reuse=reuse)

    def _segment(
        self,
        frame: npt.NDArray[Any],
        words: _Words,
        *,
        overlay: bool = False,
        alpha: float = ALPHA,
        reuse: Segmentation | None = None,
    ) -> Segmentation:
        # The words are read once, by the caller: set_classes may replace them at any moment.
        begin = preprocessed = perf_counter()
        bgr = as_bgr(frame)

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
            soft_masks = refined(soft_masks, bgr, network_size, words.rule)
        found = self._label(soft_masks, bgr, words, alpha if overlay else None, reuse)
        done = perf_counter()
        seconds = {"pre": preprocessed - begin, "infer": inferred - preprocessed, "post": done - inferred}
        return Segmentation(
            mask=found.labels,
            names=words.vocabulary.names,
            frame=bgr,
            soft_masks=soft_masks,
            threshold=words.vocabulary.constant,
            word_thresholds=words.vocabulary.thresholds,
            colours=words.colours,
            unpainted=words.unpainted,
            speed={stage: 1000 * value for stage, value in seconds.items()},
            blended=found.blended,
            blended_alpha=alpha,
        )

    def _label(
        self,
        masks: npt.NDArray[np.float32],
        frame: BGR,
        words: _Words,
        alpha: float | None,
        reuse: Segmentation | None,
    ) -> LabelMap:
        """Find the class of every pixel, and blend the colours over the frame unless `alpha` is None."""
        rule = words.rule
        paint = None if alpha is None else Paint(words.colours, alpha, skip=words.unpainted)
        size, dtype = (frame.shape[0], frame.shape[1]), label_dtype(len(words.colours))
        out = None
        if reuse is not None and reuse.mask.shape == size and reuse.mask.dtype == dtype:
            out = LabelMap(reuse.mask, blended=reuse.blended)
        if self._refine == "edge":
            return upsample_guided(masks, frame, rule, paint=paint, out=out)
        if paint is None:
            return upsample_argmax(masks, size, rule, out=out)
        return upsample_overlay(masks, frame, paint, rule, out=out)

    @overload
    def predict(
        self,
        source: Any,
        *,
        stream: Literal[True],
        classes: Words | None = None,
        rgb: bool = False,
        save: str | os.PathLike[str] | None = None,
        show: bool = False,
        overwrite: bool = False,
    ) -> Iterator[Segmentation]: ...
    @overload
    def predict(
        self,
        source: Any,
        *,
        stream: Literal[False] = False,
        classes: Words | None = None,
        rgb: bool = False,
        save: str | os.PathLike[str] | None = None,
        show: bool = False,
        overwrite: bool = False,
    ) -> list[Segmentation]: ...
    def predict(
        self,
        source: Any,
        *,
        stream: bool = False,
        classes: Words | None = None,
        rgb: bool = False,
        save: str | os.PathLike[str] | None = None,
        show: bool = False,
        overwrite: bool = False,
    ) -> Iterator[Segmentation] | list[Segmentation]:
        """Segment whatever you have: frames, paths, sources of every kind, or several of them.

        Args:
            source: an array, as the segmenter takes it when called, or (B,H,W,3) of several; a Pillow picture, turned
                upright as its EXIF says, of an animated one the current frame; a PyTorch tensor (3,H,W) or (B,3,H,W),
                always RGB, from 0 to 1 or uint8; a path; a source as text (see `runtime.sources.open`), or the number
                of a camera; a `Source`; a list or an iterator of these, numbered and timed as one stream.
            stream: yield results one by one instead of collecting them in a list, which holds every frame of a video.
                Items of an iterator are fetched when their turn comes.
            classes: words for this call alone, against the same background; None for the segmenter's.
            rgb: arrays are RGB, not BGR.
            save: where results go besides, as the command takes it: "out.mp4", "out/", "out.json" ... If you leave a
                stream before its end, the file stays as NAME.partial.EXT.
            show: also show them in a window; closing it ends the stream.
            overwrite: `save` may replace what is there, but never the source.

        Raises:
            TypeError: none of what is taken.
            TclEdgeError: words that are refused, a frame that is no picture, and whatever source and sinks raise. What
                cannot be opened is told when the first result is asked for.
        """
        from runtime.predict import results

        asked = self._words.asked
        words = None if classes is None else self._accepted(asked, self._vocabulary(classes, asked))
        if self._temporal is not None and not isinstance(source, np.ndarray):
            self._temporal.reset()
        found = results(
            source,
            lambda frame, paint: self._segment(frame, words or self._words, overlay=paint),
            words=(words or self._words).vocabulary.names,
            rgb=rgb,
            sinks=[*([] if save is None else [os.fspath(save)]), *(["display"] if show else [])],
            overwrite=overwrite,
        )
        return found if stream else list(found)

    def close(self) -> None:
        """Free the engine, unless it was passed in; closing again does nothing."""
        if self._owns_engine:
            self._engine.close()
