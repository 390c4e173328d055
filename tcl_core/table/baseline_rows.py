"""The rows of others: each a network of windows, under the unified evaluation without PAMR and without the prior."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from tcl_core.baselines.groupvit_rows import ROWS, UNIFIED_THRESHOLD, GroupVitRow, build_row
from tcl_core.baselines.maskclip import LOGIT_SCALE, PLAIN, REFINED, Refinement, maskclip
from tcl_core.baselines.reco.build import ArchiveFiles, load_networks, reco
from tcl_core.baselines.reco.references import ReCoSettings
from tcl_core.encoder import Preprocess
from tcl_core.errors import ConfigError
from tcl_core.evaluate.benchmarks import Benchmark
from tcl_core.evaluate.protocol import Protocol
from tcl_core.evaluate.protocols import TCL
from tcl_core.evaluate.sliding import slide
from tcl_core.evaluate.soft_masks import SoftMasks
from tcl_core.table.rows import CLIP_PAGE, VIT_B_16, Built, Part, Row

UNIFIED = replace(TCL, pamr="off", kp_weight=0.0)
OUR_THRESHOLD = 0.5
"""Of the background, for systems whose authors have none: nobody published how those rows were run."""

RULE = "background_rule"
Masks = Callable[[Tensor], SoftMasks]
"""Scores (K,H,W) of a whole picture, averaged over its windows -> soft masks."""


@dataclass(frozen=True)
class WindowsRow(Row):
    """A row that is a network of windows."""

    def windowed(
        self,
        network: Callable[[Tensor], Tensor],
        preprocess: Preprocess,
        benchmark: Benchmark,
        masks: Masks,
        system: Mapping[str, Any],
    ) -> Built:
        """Make a row of a network: scores of windows are averaged, resized to the picture, and compared.

        Raises:
            ConfigError: settings that such a row cannot have.
        """
        protocol = self.protocol(benchmark)
        self._check(protocol)

        def segment(image: Image.Image) -> SoftMasks:
            return masks(slide(image, network, protocol, preprocess=preprocess, batch=self.batch))

        background = f"threshold {protocol.threshold:g}" if benchmark.has_background else "no background"
        how = f"windows of {protocol.window} pixels" if protocol.window else "whole pictures"
        return Built(segment, protocol.settings(), {**self.system(benchmark), **system}, f"{how}, {background}")

    def _check(self, protocol: Protocol) -> None:
        for name, expected in (
            ("pamr", "off"),
            ("kp_weight", 0.0),
            ("softmax_scale", None),
            ("area_share", None),
            ("names", "benchmark"),
        ):
            if (value := getattr(protocol, name)) != expected:
                raise ConfigError(
                    f"{name}={value} for {self.name}: expected {expected}, which its figures are made with"
                )
        if protocol.threshold is None or protocol.templates is None:
            raise ConfigError(f"{self.name} has no threshold or templates of its own: expected values for both")

    @abstractmethod
    def own(self, benchmark: Benchmark) -> Protocol:
        """Its protocol, before the user changed anything."""

    def protocol(self, benchmark: Benchmark) -> Protocol:
        """See `Row.protocol`."""
        return self.changed(self.own(benchmark))


@dataclass(frozen=True)
class GroupVitTableRow(WindowsRow):
    """GroupViT from its authors' file or a snapshot.

    Attributes:
        kind: which of the two.
    """

    kind: GroupVitRow = ROWS[0]

    @property
    def parts(self) -> tuple[Part, ...]:
        """One file, or the folder of a snapshot."""
        found = self.kind.found_in(self.weights)
        name = self.kind.file if found is None else found.relative_to(self.weights).as_posix()
        return (Part(name, self.kind.where),)

    def own(self, benchmark: Benchmark) -> Protocol:
        """See `WindowsRow.own`."""
        return replace(UNIFIED, templates="simple", threshold=UNIFIED_THRESHOLD)

    def system(self, benchmark: Benchmark) -> dict[str, Any]:
        """See `Row.system`."""
        return {RULE: "a vote of every window, averaged" if benchmark.has_background else "none"}

    def build(self, benchmark: Benchmark) -> Built:
        """See `Row.build`."""
        protocol = self.protocol(benchmark)
        self._check(protocol)
        row = build_row(
            self.kind,
            self.weights / self.parts[0].name,
            _prompts(benchmark),
            threshold=protocol.threshold if benchmark.has_background else None,
            template_name=str(protocol.templates),
        )

        def masks(scores: Tensor) -> SoftMasks:
            if benchmark.has_background:
                return SoftMasks(scores[1:], scores[0], probabilities=False)
            return SoftMasks(scores, _nothing(scores), probabilities=False)

        system = {key: value for key, value in row.settings.items() if key != "weights"}
        return self.windowed(row.windows, row.windows.preprocess, benchmark, masks, system)


@dataclass(frozen=True)
class MaskClipRow(WindowsRow):
    """MaskCLIP, with its refinements or without.

    Attributes:
        refinement: see there.
    """

    refinement: Refinement = REFINED

    @property
    def parts(self) -> tuple[Part, ...]:
        """OpenAI's CLIP."""
        return (Part(VIT_B_16, CLIP_PAGE),)

    def own(self, benchmark: Benchmark) -> Protocol:
        """See `WindowsRow.own`."""
        return replace(UNIFIED, templates="maskclip", threshold=OUR_THRESHOLD)

    def system(self, benchmark: Benchmark) -> dict[str, Any]:
        """See `Row.system`."""
        smoothed = "sums of probabilities, as they are" if self.refinement.smooth_below else "softmax(100 cosine)"
        return {**asdict(self.refinement), RULE: f"{smoothed}, ours" if benchmark.has_background else "none"}

    def build(self, benchmark: Benchmark) -> Built:
        """See `Row.build`."""
        protocol = self.protocol(benchmark)
        self._check(protocol)
        network = maskclip(
            str(self.weights / VIT_B_16),
            _prompts(benchmark),
            refinement=self.refinement,
            template_name=str(protocol.templates),
        )
        threshold = protocol.threshold if benchmark.has_background else None

        def masks(scores: Tensor) -> SoftMasks:
            # Smoothed scores are compared as they are: they may exceed 1, and would tie if they were clamped.
            plain = not self.refinement.smooth_below
            chances = torch.softmax(LOGIT_SCALE * scores, dim=0) if plain else scores
            return SoftMasks(chances, _floor(chances, threshold), probabilities=plain)

        system = {key: value for key, value in network.settings.items() if key != "clip"}  # its hash tells more
        return self.windowed(network, network.preprocess, benchmark, masks, system)


REFERENCES, ARCHIVE = "references.safetensors", "pictures"
DEIT, RN50X16, VIT_L = "deit_s_sin.pth", "RN50x16.pt", "ViT-L-14-336px.pt"


@dataclass(frozen=True)
class ReCoRow(WindowsRow):
    """ReCo, with references that are there, or made from a folder of pictures.

    Attributes:
        kept: folder for what is made from the pictures.
    """

    kept: Path = Path()

    @property
    def parts(self) -> tuple[Part, ...]:
        """Two networks and references, or what those are made of."""
        networks = (
            Part(DEIT, "its authors (DeiT-S/16 distilled on stylised ImageNet, github.com/Muzammal-Naseer/IPViT)"),
            Part(RN50X16, CLIP_PAGE),
        )
        if (self.weights / REFERENCES).exists():
            return (*networks, Part(REFERENCES, ""))
        return (
            *networks,
            Part(VIT_L, CLIP_PAGE),
            Part(
                ARCHIVE,
                "any folder of pictures to retrieve from (ImageNet-1k's in the paper, image-net.org); instead of these "
                f"two, {REFERENCES}: the files of github.com/NoelShin/reco by import_references, see docs/baselines.md",
            ),
        )

    @property
    def files(self) -> dict[str, Path]:
        """All but the folder of pictures."""
        return {name: path for name, path in super().files.items() if name != ARCHIVE}

    @property
    def listed(self) -> dict[str, Path]:
        """The folder of pictures."""
        return {name: path for name, path in super().files.items() if name == ARCHIVE}

    def own(self, benchmark: Benchmark) -> Protocol:
        """See `WindowsRow.own`."""
        return replace(UNIFIED, templates="maskclip", threshold=OUR_THRESHOLD)

    def system(self, benchmark: Benchmark) -> dict[str, Any]:
        """See `Row.system`."""
        rule = "product of both scores, ours" if benchmark.has_background else "none"
        return {**ReCoSettings().of_references(), RULE: rule}

    def build(self, benchmark: Benchmark) -> Built:
        """See `Row.build`."""
        protocol = self.protocol(benchmark)
        if protocol.templates != "maskclip":
            raise ConfigError(f"templates={protocol.templates} for ReCo: expected maskclip, its references' own")
        networks = load_networks(self.weights / DEIT, str(self.weights / RN50X16))
        own = self.weights / REFERENCES
        archive = None
        if not own.exists():
            archive = ArchiveFiles(self.weights / ARCHIVE, self.kept / "embeddings", str(self.weights / VIT_L))
        network = reco(networks, _prompts(benchmark), self.kept / REFERENCES if archive else own, archive=archive)
        threshold = protocol.threshold if benchmark.has_background else None

        def masks(scores: Tensor) -> SoftMasks:
            return SoftMasks(scores, _floor(scores, threshold), probabilities=False)

        return self.windowed(network, network.preprocess, benchmark, masks, network.settings)


def _prompts(benchmark: Benchmark) -> list[str]:
    return [word.synonyms[0] for word in benchmark.words]


def _floor(scores: Tensor, threshold: float | None) -> Tensor:
    return _nothing(scores) if threshold is None else torch.full(scores.shape[1:], threshold)


def _nothing(scores: Tensor) -> Tensor:
    """What every score exceeds: no pixel is background."""
    return torch.full(scores.shape[1:], -torch.inf)


def baseline_rows(weights: Path, kept: Path, settings: Sequence[str], batch: int) -> tuple[Row, ...]:
    """Give the rows of others, in the order of the paper's table.

    Args:
        weights: folder of all weights.
        kept: folder for what ReCo makes.
        settings: of the protocol that the user changed.
        batch: windows at once.
    """
    given = tuple(settings)
    groupvit = (GroupVitTableRow(kind.name, f"groupvit_{kind.mark}", weights, given, batch, kind=kind) for kind in ROWS)
    return (
        *groupvit,
        MaskClipRow("MaskCLIP†", "maskclip_plain", weights, given, batch, refinement=PLAIN),
        MaskClipRow("MaskCLIP", "maskclip", weights, given, batch),
        ReCoRow("ReCo", "reco", weights, given, batch, kept=kept),
    )


__all__ = ["UNIFIED", "baseline_rows"]
