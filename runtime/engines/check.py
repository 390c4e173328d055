"""A new engine against ONNX Runtime: what both must have in common before the engine is kept."""

from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from runtime.bundle import Bundle, GraphSpec, InputSpec
from runtime.engines.base import Arrays, Engine
from runtime.engines.profile import Profile
from runtime.errors import EngineError
from runtime.frame import Preprocessor
from runtime.sources.open import open_source
from runtime.words.vocabulary import Vocabulary

FRAME = 84
"""Of the shipped clip: two cars side by side."""

TIE = 0.02
"""Two words are tied at a cell if their soft masks differ by less than this share of the range of all masks. Rounding
may decide ties either way, in 16 bits and in TensorRT's 32, which multiply with fewer digits."""


@dataclass(frozen=True)
class Tolerance:
    """Least share of equal labels, largest mean difference of soft masks."""

    label_agreement: float
    mean_error: float


TOLERANCES = {"fp32": Tolerance(0.995, 0.01), "fp16": Tolerance(0.995, 0.01), "int8": Tolerance(0.95, 0.03)}
"""By the precision of the graph."""


@dataclass(frozen=True)
class Comparison:
    """How far an engine is from ONNX Runtime.

    Attributes:
        mean_error: mean difference of soft masks.
        label_agreement: share of cells with the same best word, or one that is tied with it.
    """

    mean_error: float
    label_agreement: float


def sample_inputs(bundle: Bundle, input_spec: InputSpec, profile: Profile) -> dict[str, npt.NDArray[np.float32]]:
    """Make inputs as they will be: a frame of the shipped clip, the words of the bundle."""
    with open_source("test://cars") as frames:
        (frame,) = islice(frames, FRAME, FRAME + 1)
    inputs = {"image": Preprocessor(input_spec)(frame.image)}
    if "text" in bundle.manifest.segmenter.inputs:
        inputs["text"] = Vocabulary.shipped(bundle).embeddings[: profile.ranges["words"].most]
    return inputs


def compare(engine: Engine, reference: Engine, inputs: Arrays) -> Comparison:
    """Run both on the same inputs and compare their masks.

    Raises:
        EngineError: the engine gives another shape, or numbers that are not finite.
    """
    given, expected = engine.infer(inputs)["masks"], reference.infer(inputs)["masks"]
    if given.shape != expected.shape or not np.isfinite(given).all():
        raise EngineError(
            f"the engine gives masks of shape {given.shape}, {np.isfinite(given).mean():.1%} of them finite; "
            f"ONNX Runtime gives {expected.shape}: export with another precision"
        )
    chosen = np.take_along_axis(expected, given.argmax(1)[:, None], axis=1)
    tie = TIE * (expected.max() - expected.min())
    equal = chosen >= expected.max(1, keepdims=True) - tie
    return Comparison(float(np.abs(given.astype(np.float32) - expected).mean()), float(equal.mean()))


KEEP_ADVICE = "it was not kept: export with another precision, or --provider cuda"


def require_agreement(comparison: Comparison, spec: GraphSpec, *, advice: str = KEEP_ADVICE) -> None:
    """Refuse an engine that does something else than ONNX Runtime.

    Args:
        comparison: of the engine with ONNX Runtime on the CPU.
        spec: the graph.
        advice: what became of the engine, and what to do.

    Raises:
        EngineError: fewer labels are equal, or masks differ more, than the precision allows.
    """
    least = TOLERANCES[spec.precision]
    if comparison.label_agreement >= least.label_agreement and comparison.mean_error <= least.mean_error:
        return
    raise EngineError(
        f"the engine of {spec.file} ({spec.precision}) has {comparison.label_agreement:.2%} of its labels in common "
        f"with ONNX Runtime (at least {least.label_agreement:.1%}), its masks differ by {comparison.mean_error:.2g} on "
        f"average (at most {least.mean_error:g}); {advice}"
    )
