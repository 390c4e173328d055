"""What a row of the table is, and our own: TCL from its authors' checkpoint, tiny, bundles."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from tcl_core.evaluate.benchmarks import Benchmark
from tcl_core.evaluate.bundle import bundle_segment, network_size
from tcl_core.evaluate.protocol import Protocol, overridden
from tcl_core.evaluate.protocols import RUNTIME, TCL
from tcl_core.evaluate.soft_masks import Segment, model_segment, resolved
from tcl_core.load.choice import ModelChoice
from tcl_core.load.model import load_model
from tcl_core.tiny.file import DEFAULT_PATH

VIT_B_16 = "ViT-B-16.pt"
CLIP_PAGE = "OpenAI's CLIP (linked in clip/clip.py of github.com/openai/CLIP)"


@dataclass(frozen=True)
class Part:
    """A file or folder that a row needs.

    Attributes:
        name: below the folder of weights.
        where: its authors put it.
    """

    name: str
    where: str


@dataclass(frozen=True)
class Built:
    """A row ready to be measured.

    Attributes:
        segment: a picture -> soft masks.
        protocol: every setting, nothing left open.
        system: what else its figures depend on, as its network tells: plain data.
        how: for people, in one line.
    """

    segment: Segment
    protocol: Mapping[str, Any]
    system: Mapping[str, Any]
    how: str


@dataclass(frozen=True)
class Row(ABC):
    """A row of the table.

    Attributes:
        name: as the paper's table calls it.
        slug: name of its folder of results.
        weights: folder of all weights.
        settings: of the protocol that the user changed, `NAME=VALUE`.
        batch: windows at once; only speed and memory depend on it.
    """

    name: str
    slug: str
    weights: Path
    settings: tuple[str, ...] = ()
    batch: int = 1

    @property
    @abstractmethod
    def parts(self) -> tuple[Part, ...]:
        """What it needs."""

    @property
    def missing(self) -> tuple[str, ...]:
        """What it lacks, and where that is to be had."""
        return tuple(
            f"no {part.name}, expected from {part.where}"
            for part in self.parts
            if not (self.weights / part.name).exists()
        )

    @property
    def files(self) -> dict[str, Path]:
        """Files that its figures depend on, by name."""
        return {part.name: self.weights / part.name for part in self.parts}

    @property
    def listed(self) -> dict[str, Path]:
        """Folders too large to be read, whose listing stands for them, by name."""
        return {}

    @abstractmethod
    def protocol(self, benchmark: Benchmark) -> Protocol:
        """How it is measured; what is left to the model is filled in by `build`."""

    def system(self, benchmark: Benchmark) -> dict[str, Any]:
        """What else its figures depend on and is known before anything is loaded: plain data."""
        return {}

    @abstractmethod
    def build(self, benchmark: Benchmark) -> Built:
        """Load the weights and make ready.

        Raises:
            ConfigError: settings that it cannot have.
            WeightsError: weights that are damaged, unsafe, or of another row.
        """

    def changed(self, protocol: Protocol) -> Protocol:
        """Change what the user changed."""
        return overridden(protocol, self.settings)


@dataclass(frozen=True)
class TclRow(Row):
    """TCL from its authors' checkpoint.

    Attributes:
        pamr: whether masks are refined, as in the table; its appendix has them unrefined.
    """

    pamr: bool = True

    @property
    def parts(self) -> tuple[Part, ...]:
        """OpenAI's CLIP and the checkpoint on it."""
        return (
            Part(VIT_B_16, CLIP_PAGE),
            Part("tcl.pth", "its authors (the releases of github.com/kakaobrain/tcl)"),
        )

    def protocol(self, benchmark: Benchmark) -> Protocol:
        """The unified evaluation; a threshold of 0.4 with PAMR and 0.5 without."""
        return self.changed(TCL if self.pamr else replace(TCL, pamr="off"))

    def build(self, benchmark: Benchmark) -> Built:
        """Load it, see `Row.build`."""
        choice = ModelChoice(str(self.weights / VIT_B_16), checkpoint=self.weights / "tcl.pth")
        return _built(choice, benchmark, self.protocol(benchmark), self.batch)


@dataclass(frozen=True)
class TinyRow(Row):
    """The model in the package, whole pictures at once."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """Nothing: it is shipped."""
        return ()

    @property
    def files(self) -> dict[str, Path]:
        """Its folder of weights."""
        return {"tiny": DEFAULT_PATH.parent}

    def protocol(self, benchmark: Benchmark) -> Protocol:
        """As the runtime sees pictures."""
        return self.changed(RUNTIME)

    def build(self, benchmark: Benchmark) -> Built:
        """Load it, see `Row.build`."""
        return _built(ModelChoice("tiny"), benchmark, self.protocol(benchmark), self.batch)


def _built(choice: ModelChoice, benchmark: Benchmark, protocol: Protocol, batch: int) -> Built:
    loaded = load_model(choice)
    chosen = resolved(
        protocol,
        size=loaded.model.preprocess.size,
        own_templates=loaded.templates,
        own_threshold=loaded.threshold,
        pamr=loaded.pamr,
    )
    background = loaded.background_words(None, benchmark.words)
    segment = model_segment(loaded.model, benchmark.words, background, chosen, network_size=network_size, batch=batch)
    words = [synonym for word in background for synonym in word.synonyms]
    return Built(segment, chosen.settings(), {"background_words": words}, segment.how)


@dataclass(frozen=True)
class BundleRow(Row):
    """An exported bundle, as the runtime runs it."""

    file: str = field(default="", kw_only=True)

    MEASURED_AS_IT_IS: ClassVar[str] = "a bundle is measured as it is, and --set was given: leave out one of them"

    @property
    def parts(self) -> tuple[Part, ...]:
        """The bundle."""
        return (Part(self.file, "`python -m export`"),)

    @property
    def missing(self) -> tuple[str, ...]:
        """Settings cannot be changed."""
        return (self.MEASURED_AS_IT_IS,) if self.settings else super().missing

    def protocol(self, benchmark: Benchmark) -> Protocol:
        """As the runtime sees pictures; the bundle says the rest."""
        return RUNTIME

    def build(self, benchmark: Benchmark) -> Built:
        """Open it, see `Row.build`."""
        segment = bundle_segment(self.weights / self.file, benchmark.words)
        return Built(segment, {"name": "runtime", "bundle": segment.how}, {}, segment.how)


def own_rows(weights: Path, settings: Sequence[str], batch: int) -> tuple[Row, ...]:
    """TCL twice, tiny, and the bundles that lie in a folder."""
    given = tuple(settings)
    bundles = sorted(path.name for path in weights.glob("*.tclb"))
    return (
        TclRow("TCL", "tcl", weights, given, batch),
        TclRow("TCL without PAMR", "tcl_without_pamr", weights, given, batch, pamr=False),
        TinyRow("tiny", "tiny", weights, given, batch),
        *(BundleRow(name, f"bundle-{name.removesuffix('.tclb')}", weights, given, file=name) for name in bundles),
    )


__all__ = ["CLIP_PAGE", "VIT_B_16", "Built", "Part", "Row", "own_rows"]
