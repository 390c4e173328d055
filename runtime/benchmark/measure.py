"""Every combination of provider, threads, size, refinement and number of words, each measured on the same frames."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from runtime.bundle import Bundle, Refinement
from runtime.engines.base import Engine
from runtime.engines.choice import AUTO, Choice
from runtime.engines.onnx import PROVIDERS
from runtime.engines.open import open_chosen
from runtime.errors import EngineOptionError, SourceError, TclEdgeError, UsageError
from runtime.frame import BGR, input_size, resized
from runtime.segmentation import Segmentation
from runtime.segmenter import MOST_THREADS, REFINEMENTS, Segmenter
from runtime.sources.address import redacted
from runtime.sources.open import open_source
from runtime.words.vocabulary import Vocabulary

STAGES = ("pre", "infer", "post", "total")
PERCENTILES = (50, 90, 99)

WARM_UP = 3
"""Frames of each combination that are not counted: they pay for memory that later ones reuse."""

FRAMES_KEPT = 16
"""Different frames, taken in turn: with more of them a long or large video would fill the memory, not the table."""

NOUNS = (
    *("car", "person", "dog", "cat", "tree", "road", "sky", "house", "window", "door", "chair", "table", "bottle"),
    *("cup", "book", "flower", "bird", "horse", "cow", "sheep", "boat", "train", "bus", "bicycle", "bag", "hat"),
    *("shoe", "ball", "knife", "spoon", "bowl", "apple"),
)
KINDS = ("red", "blue", "green", "black", "white", "small", "large", "old")


@dataclass(frozen=True)
class Plan:
    """What is measured: every combination of these. None stands for what the stream takes when it is not told.

    Attributes:
        providers: `auto`, `cpu`, `cuda`, `tensorrt`.
        threads: of every stage.
        sizes: of the network, as for `Segmenter`.
        refinements: as for `Segmenter`.
        words: how many classes, up to 288; background words come on top.
        frames: counted, of each combination.
    """

    providers: Sequence[str] = (AUTO,)
    threads: Sequence[int | None] = (None,)
    sizes: Sequence[int | None] = (None,)
    refinements: Sequence[Refinement | None] = (None,)
    words: Sequence[int] = (5, 20)
    frames: int = 50

    def __post_init__(self) -> None:
        """Refuse what no machine can do.

        Raises:
            UsageError: a setting that does not exist.
        """
        known = (AUTO, *PROVIDERS, "tensorrt")
        for provider in self.providers:
            if provider not in known:
                raise EngineOptionError(f"provider {provider!r} given, expected one of {', '.join(known)}")
        for refinement in self.refinements:
            if refinement is not None and refinement not in REFINEMENTS:
                raise EngineOptionError(f"refinement {refinement!r} given, expected one of {', '.join(REFINEMENTS)}")
        if not all(count is None or 1 <= count <= MOST_THREADS for count in self.threads):
            raise EngineOptionError(f"threads {list(self.threads)} given, expected 1 to {MOST_THREADS}")
        most = len(NOUNS) * (1 + len(KINDS))
        if not all(1 <= count <= most for count in self.words):
            raise UsageError(f"{list(self.words)} words given, expected 1 to {most}")
        if self.frames < 1:
            raise UsageError(f"{self.frames} frames given, expected at least 1")

    def cases(self) -> list["Case"]:
        """List the combinations; those that share an engine stand together."""
        product = itertools.product(self.providers, self.threads, self.sizes, self.refinements, self.words)
        return [Case(*settings) for settings in product]


@dataclass(frozen=True)
class Case:
    """One combination."""

    provider: str
    threads: int | None
    size: int | None
    refinement: Refinement | None
    words: int


@dataclass(frozen=True)
class Measured:
    """What came of a combination.

    Attributes:
        case: which.
        choice: what ran the network; None if it did not start.
        size: the network's input for these frames, (height, width); None where it failed, as all that follows.
        refinement: that was used.
        rows: of text, synonyms and background words included: what the network computes masks for.
        frames: that were counted.
        stages_ms: for each of `STAGES`, milliseconds at each of `PERCENTILES`; empty where it failed.
        fps: frames divided by the sum of their totals; 0 where it failed.
        error: why it failed; empty where it did not.
    """

    case: Case
    choice: Choice | None = None
    size: tuple[int, int] | None = None
    refinement: str = ""
    rows: int = 0
    frames: int = 0
    stages_ms: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    fps: float = 0.0
    error: str = ""


OpenEngine = Callable[..., tuple[Engine, Choice]]


def read_frames(source: str, count: int) -> list[BGR]:
    """Read the first frames of a source, at most `FRAMES_KEPT`.

    Raises:
        SourceError: it cannot be read, or has none.
    """
    with open_source(source) as frames:
        kept = [frame.image.copy() for frame in itertools.islice(frames, min(count, FRAMES_KEPT))]
    if not kept:
        raise SourceError(f"{redacted(source)} has no frames: nothing can be measured")
    return kept


def measure(
    bundle: Bundle,
    plan: Plan,
    frames: Sequence[BGR],
    *,
    advance: Callable[[], None] = lambda: None,
    open_engine: OpenEngine = open_chosen,
) -> Iterator[Measured]:
    """Measure one combination after the other. What fails is told in its place, and the rest goes on.

    Args:
        bundle: what is run.
        plan: the combinations.
        frames: taken in turn.
        advance: called after each frame, those of the warm-up included.
        open_engine: as `runtime.engines.open.open_chosen`.

    Raises:
        EngineOptionError: a size that the bundle does not take; before anything is measured.
    """
    for size in plan.sizes:
        resized(bundle.manifest.input, size)
    most_rows = max(plan.words) + len(Vocabulary.shipped(bundle).embeddings)
    for (provider, threads, size), group in itertools.groupby(
        plan.cases(), key=lambda case: (case.provider, case.threads, case.size)
    ):
        cases = list(group)
        try:
            engine, choice = open_engine(bundle, size=size, provider=provider, threads=threads, words=most_rows)
        except TclEdgeError as error:
            yield from (Measured(case, error=str(error)) for case in cases)
            continue
        with engine:
            for case in cases:
                try:
                    yield _measured(bundle, case, engine, choice, frames, plan.frames, advance)
                except TclEdgeError as error:
                    yield Measured(case, choice, error=str(error))


def _measured(
    bundle: Bundle,
    case: Case,
    engine: Engine,
    choice: Choice,
    frames: Sequence[BGR],
    count: int,
    advance: Callable[[], None],
) -> Measured:
    words = words_for(bundle, case.words)
    with Segmenter(
        bundle, words, threads=case.threads, size=case.size, refine=case.refinement, engine=engine
    ) as segmenter:
        taken: list[dict[str, float]] = []
        result: Segmentation | None = None
        for number in range(WARM_UP + count):
            frame = frames[number % len(frames)]
            begin = perf_counter()
            result = segmenter(frame, reuse=result)
            taken.append({**result.speed, "total": 1000 * (perf_counter() - begin)})
            advance()
        rows = len(segmenter.vocabulary.embeddings)
    stages_ms, fps = summary(taken[WARM_UP:])
    refinement = bundle.manifest.output.refine if case.refinement is None else case.refinement
    size = input_size((frames[0].shape[0], frames[0].shape[1]), resized(bundle.manifest.input, case.size))
    return Measured(case, choice, size, refinement, rows, count, stages_ms, fps)


def summary(frames: Sequence[Mapping[str, float]]) -> tuple[dict[str, dict[int, float]], float]:
    """Summarise the stage times of frames: the percentiles of each stage in milliseconds, and frames per second."""
    stages_ms = {}
    for stage in STAGES:
        values = np.percentile([frame[stage] for frame in frames], PERCENTILES)
        stages_ms[stage] = dict(zip(PERCENTILES, map(float, values), strict=True))
    return stages_ms, 1000 / float(np.mean([frame["total"] for frame in frames]))


def words_for(bundle: Bundle, count: int) -> list[str]:
    """Take the bundle's own words, and plain ones where it has fewer: time does not depend on what they mean."""
    own = [word.name for word in Vocabulary.shipped(bundle).classes]
    more = [*NOUNS, *(f"{kind} {noun}" for kind in KINDS for noun in NOUNS)]
    return list(dict.fromkeys([*own, *more]))[:count]
