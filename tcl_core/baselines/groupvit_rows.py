"""The rows "GroupViT (YFCC)" and "GroupViT (RedCaps)" of TCL's table: which weights they mean, and how they segment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tcl_core.baselines.groupvit import MAX_SCALE
from tcl_core.baselines.groupvit_segment import MAX_CLASSES, GroupVitWindows
from tcl_core.baselines.groupvit_weights import GroupVitFile, OnReport, load_groupvit
from tcl_core.errors import WeightsError
from tcl_core.prompts import embed_words, templates

TEMPLATES = "simple"
UNIFIED_THRESHOLD = 0.95
"""Of the background, on every benchmark. Inferred: TCL's authors published none, and its numbers for COCO-Object equal
GroupViT's own, which were made with this one."""

ORIGINAL_THRESHOLDS: Mapping[str, float] = MappingProxyType({"voc": 0.95, "context": 0.35, "coco_object": 0.95})
"""Of the authors' own evaluation, by benchmark."""

AUTHORS_PAGE = "https://github.com/xvjiarui/GroupViT#benchmark-results"


@dataclass(frozen=True)
class GroupVitRow:
    """A row of the table.

    Attributes:
        name: in the table.
        data: what the weights were trained on, for people.
        mark: what the names of its files and of its training data contain.
        file: name of the authors' file.
        digest: beginning of the file's SHA-256, which its name ends with.
        hub: name on the Hugging Face hub.
    """

    name: str
    data: str
    mark: str
    file: str
    digest: str
    hub: str

    @property
    def where(self) -> str:
        """Where the weights are to be had."""
        return f"{self.file} ({AUTHORS_PAGE}), or {self.hub} on the Hugging Face hub"

    def found_in(self, folder: Path) -> Path | None:
        """Find the weights in a folder: the authors' file, or a snapshot in a folder named as on the hub."""
        places = (folder / self.file, folder / self.hub, folder / self.hub.split("/")[1])
        return next((place for place in places if place.exists()), None)


ROWS = (
    GroupVitRow(
        "GroupViT (YFCC)",
        "CC3M, CC12M and YFCC14M",
        "yfcc",
        "group_vit_gcc_yfcc_30e-879422e0.pth",
        "879422e0",
        "nvidia/groupvit-gcc-yfcc",
    ),
    GroupVitRow(
        "GroupViT (RedCaps)",
        "CC3M, CC12M and RedCaps12M",
        "redcap",
        "group_vit_gcc_redcap_30e-3dd09a76.pth",
        "3dd09a76",
        "nvidia/groupvit-gcc-redcaps",
    ),
)


@dataclass(frozen=True, eq=False)
class GroupVitBaseline:
    """A row that looks for given classes.

    Attributes:
        row: which.
        windows: normalised windows (B,3,H,W) -> scores (B,K,H,W), for `tcl_core.segment.slide`; the background first,
            if there is one.
        file: the weights.
        settings: all that the numbers depend on beside pictures, names and windows; plain values, for a report.
    """

    row: GroupVitRow
    windows: GroupVitWindows
    file: GroupVitFile
    settings: Mapping[str, str | float | None]


def build_row(
    row: GroupVitRow,
    weights: str | Path,
    names: Sequence[str],
    *,
    threshold: float | None,
    template_name: str = TEMPLATES,
    tokenizer: Any = None,
    on_report: OnReport | None = None,
) -> GroupVitBaseline:
    """Make a row ready to be measured.

    Args:
        row: one of `ROWS`.
        weights: see `load_groupvit`.
        names: of the N classes, without the background.
        threshold: of the background, see `UNIFIED_THRESHOLD`; None for a benchmark without one.
        template_name: see `tcl_core.prompts.templates`.
        tokenizer: see `load_groupvit`.
        on_report: called with what became of every tensor.

    Raises:
        FileNotFoundError: no such weights.
        WeightsError: weights that cannot be read, see `load_groupvit`, or of another row.
        ConfigError: a threshold outside [0, 1].
        ValueError: no names, or no such templates.
    """
    prompts = templates(template_name)
    file = load_groupvit(weights, tokenizer=tokenizer, on_report=on_report)
    evidence = evidence_of(file)
    if evidence is not None and evidence.row != row:
        raise WeightsError(
            f"{file.path} are the weights of {evidence.row.name}, trained on {evidence.row.data} ({evidence.why}): "
            f"expected those of {row.name}: {row.where}"
        )
    windows = GroupVitWindows(file.model, embed_words(file.model.text, list(names), prompts), threshold)
    settings = {
        "weights": file.source,
        "weights_sha256": file.sha256,
        "trained_on": "not told by the file" if evidence is None else f"{evidence.row.data} ({evidence.why})",
        "templates": template_name,
        "background_threshold": threshold,
        "classes_per_window": MAX_CLASSES,
        "largest_logit_scale": MAX_SCALE,
        "precision": "float32",
    }
    return GroupVitBaseline(row, windows, file, MappingProxyType(settings))


@dataclass(frozen=True)
class Evidence:
    """Which row weights belong to, and how that is known."""

    row: GroupVitRow
    why: str


def evidence_of(file: GroupVitFile) -> Evidence | None:
    """Find out which row weights belong to; None if nothing tells.

    What is in the file counts before what it is called: its training's configuration, its digest, then names.
    """
    trained = file.settings
    for name in ("data", "dataset", "train"):
        trained = trained.get(name, {}) if isinstance(trained, Mapping) else {}
    if isinstance(trained, list) and (row := _named(" ".join(map(str, trained)))):
        return Evidence(row, f"its configuration says {', '.join(map(str, trained))}")
    for row in ROWS:
        if file.sha256.startswith(row.digest):
            return Evidence(row, f"its SHA-256 begins with {row.digest}")
    # A snapshot of the hub lies in models--OWNER--NAME/snapshots/COMMIT.
    for name in (str(file.settings.get("_name_or_path", "")), *reversed(file.path.absolute().parts[-4:])):
        if row := _named(name):
            return Evidence(row, f"it is called {name}")
    return None


def _named(text: str) -> GroupVitRow | None:
    found = [row for row in ROWS if row.mark in text.lower()]
    return found[0] if len(found) == 1 else None
