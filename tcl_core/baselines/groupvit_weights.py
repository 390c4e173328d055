"""GroupViT from its weights: the authors' `.pth`, Hugging Face's files, snapshots and names. Nothing is executed."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tcl_core.baselines.groupvit import GroupVit, GroupVitShape, TextShape
from tcl_core.baselines.groupvit_names import HUGGING_FACE, LAYOUTS, Layout, Place
from tcl_core.baselines.groupvit_vision import StageShape, VisionShape
from tcl_core.errors import WeightsError
from tcl_core.towers.official import ImportedKey, ImportReport
from tcl_core.towers.restricted_pickle import Inert
from tcl_core.towers.weights_file import read_weights_file, tensors_of

HUB_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""Names of a snapshot's weights, the preferred one first."""

PUBLISHED_DIM, PUBLISHED_HEADS, PUBLISHED_TEXT_HEADS = 384, 6, 4
TEXT_HEAD_DIM = 64
"""CLIP's rule, and the authors': their files do not say how many heads the text tower has."""

PARTS = ("queries", "keys", "values")
PROJECTOR = re.compile(r"(image_projector|text\.projection)\.fc[12]\.weight")

OnReport = Callable[[ImportReport], None]


@dataclass(frozen=True, eq=False)
class GroupVitFile:
    """Weights as they were found.

    Attributes:
        source: what was asked for.
        path: of the file that was read.
        sha256: of the file, hexadecimal.
        settings: plain data that came with the weights: the training's configuration, or config.json; may be empty.
        model: on the CPU, in evaluation mode, float32.
        report: what became of every tensor.
    """

    source: str
    path: Path
    sha256: str
    settings: Mapping[str, Any]
    model: GroupVit
    report: ImportReport


def load_groupvit(weights: str | Path, *, tokenizer: Any = None, on_report: OnReport | None = None) -> GroupVitFile:
    """Load GroupViT.

    Args:
        weights: the authors' `.pth`; Hugging Face's `model.safetensors` or `pytorch_model.bin`, with config.json beside
            it; the folder of a snapshot; or OWNER/NAME on the Hugging Face hub.
        tokenizer: open_clip's; None for CLIP's own, which all published weights need.
        on_report: called with what became of every tensor.

    Raises:
        FileNotFoundError: no such file, or a folder without weights.
        WeightsError: weights that cannot be had, are damaged, unsafe, of another model, or do not fit: every name and
            shape must.
    """
    path, config_path = _find(str(weights))
    content = read_weights_file(path)
    state = tensors_of(content, str(path))
    layout = _layout_of(state, path)
    settings = _settings(content, path, config_path if layout is HUGGING_FACE else None)
    places = _places(state, layout, path)
    own = _own_state(state, places, path)
    model = GroupVit(_shape_of(own, layout, settings, path), tokenizer)
    _check(model, own, layout, path)
    model.load_state_dict(own)
    report = ImportReport(str(path), tuple(_reported(name, state[name], place) for name, place in places.items()))
    if on_report:
        on_report(report)
    return GroupVitFile(str(weights), path, _sha256(path), settings, model, report)


def _find(weights: str) -> tuple[Path, Path | None]:
    """Find the file of weights and the config.json that belongs to it, if there is one."""
    path = Path(weights)
    if path.is_dir():
        found = [path / name for name in HUB_WEIGHTS if (path / name).is_file()]
        if not found:
            raise FileNotFoundError(f"no {' or '.join(HUB_WEIGHTS)} in {path}: expected a snapshot of GroupViT")
        path = found[0]
    elif not path.is_file():
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", weights) or weights.endswith((".pth", ".bin", ".safetensors", ".pt")):
            raise FileNotFoundError(
                f"no file {weights}: expected weights of GroupViT, a folder with them, or OWNER/NAME on the Hugging "
                "Face hub, such as nvidia/groupvit-gcc-yfcc"
            )
        return _downloaded(weights)
    config = path.with_name("config.json")
    return path, config if config.is_file() else None


def _downloaded(name: str) -> tuple[Path, Path]:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        config = Path(hf_hub_download(name, "config.json"))
        try:
            return Path(hf_hub_download(name, HUB_WEIGHTS[0])), config
        except EntryNotFoundError:
            return Path(hf_hub_download(name, HUB_WEIGHTS[1])), config
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{name} could not be had from the Hugging Face hub ({type(error).__name__}: {error}). Check the name and "
            "the network, or download its files yourself and name their folder."
        ) from error


def _layout_of(state: Mapping[str, Tensor], path: Path) -> Layout:
    for layout in LAYOUTS:
        if all(any(name.startswith(mark) for name in state) for mark in layout.marks):
            return layout
    raise WeightsError(f"{path} holds {_what_it_is(state)}: expected GroupViT, the authors' .pth or Hugging Face's")


def _what_it_is(state: Mapping[str, Tensor]) -> str:
    """Say what weights are, for people who gave the wrong ones."""
    families = {
        "masker.": "TCL",
        "grounder.": "a grounder of TCL",
        "visual.transformer.resblocks.": "CLIP with a vision transformer, in OpenAI's layout",
        "visual.layer1.": "CLIP with a ResNet, in OpenAI's layout",
        "vision_model.encoder.layers.": "CLIP or its like, in Hugging Face's layout",
        "img_encoder.": "GroupViT's picture tower without its text tower",
    }
    for beginning, name in families.items():
        if any(key.startswith(beginning) for key in state):
            return f"weights of {name}"
    return f"{len(state)} tensors of an unknown model, the first is {next(iter(state))}"


def _settings(content: Any, path: Path, config_path: Path | None) -> dict[str, Any]:
    if isinstance(content, Mapping) and "config" in content:
        try:
            settings = plain(content["config"])
        except RecursionError:
            raise WeightsError(f"{path}: the configuration in it contains itself: expected it as published") from None
        return settings if isinstance(settings, dict) else {}
    if config_path is None:
        return {}
    try:
        settings = json.loads(config_path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{config_path} cannot be read ({error}): expected the one that came with it") from error
    if not isinstance(settings, dict) or settings.get("model_type") != "groupvit":
        raise WeightsError(f"{config_path} describes no GroupViT: expected model_type groupvit, as it was published")
    return settings


def plain(pickled: Any) -> Any:
    """Turn settings that a library pickled (OmegaConf) into dicts, lists and values; None where there is no telling."""
    if isinstance(pickled, Inert):
        attributes = pickled.attributes()
        return plain(attributes.get("_content", attributes.get("_val")))
    if isinstance(pickled, dict):
        return {str(key): plain(value) for key, value in pickled.items()}
    if isinstance(pickled, list):
        return [plain(value) for value in pickled]
    return pickled if isinstance(pickled, str | int | float | bool) else None


def _places(state: Mapping[str, Tensor], layout: Layout, path: Path) -> dict[str, Place]:
    places = {name: layout.place(name) for name in state}
    unknown = [name for name, place in places.items() if place is None]
    if unknown:
        raise WeightsError(
            f"{path} is a GroupViT in {layout.name} layout, and has names that are not known: "
            f"{', '.join(unknown[:8])}. Expected the file as it was published."
        )
    return {name: place for name, place in places.items() if place is not None}


def _own_state(state: Mapping[str, Tensor], places: Mapping[str, Place], path: Path) -> dict[str, Tensor]:
    """Rename tensors; queries, keys and values become the rows of one, convolutions over nothing linear layers."""
    own: dict[str, Tensor] = {}
    rows: dict[str, dict[str, Tensor]] = {}
    for name, place in places.items():
        if place.part:
            rows.setdefault(place.target, {})[place.part] = state[name]
        elif place.target:
            own[place.target] = state[name][..., 0] if _is_convolution(state[name], place) else state[name]
    for target, found in rows.items():
        if len(found) != len(PARTS) or len({value.shape for value in found.values()}) != 1:
            shapes = (f"{name} {tuple(state[name].shape)}" for name, to in places.items() if to.target == target)
            raise WeightsError(f"{path} has {', '.join(shapes)}: expected {', '.join(PARTS)}, all of one shape")
        own[target] = torch.cat([found[part] for part in PARTS])
    return own


def _is_convolution(value: Tensor, place: Place) -> bool:
    return bool(PROJECTOR.fullmatch(place.target)) and value.ndim == 3 and value.shape[2] == 1


def _shape_of(own: Mapping[str, Tensor], layout: Layout, settings: Mapping[str, Any], path: Path) -> GroupVitShape:
    """Read sizes off the tensors, and the numbers of heads, which they do not show, off the settings."""

    def size(name: str, axis: int) -> int:
        if name not in own or own[name].ndim <= axis:
            found = f"has {name} of shape {tuple(own[name].shape)}" if name in own else "lacks it"
            raise WeightsError(
                f"{path}: {', '.join(layout.sources(name))} is needed to know the sizes of the model, and the file "
                f"{found}: expected it as it was published"
            )
        return own[name].shape[axis]

    def stage(number: int) -> StageShape:
        root = f"vision.stages.{number}."
        depth = _count(own, re.escape(root) + r"blocks\.(\d+)\.")
        if root + "tokens" not in own:
            return StageShape(depth, 0, 0)
        maker = root + "token_maker.mix.fc1.weight"
        previous = (size(maker, 1), size(maker, 0)) if maker in own else (0, 0)
        return StageShape(depth, size(root + "tokens", 1), size(root + "grouping.mix.fc1.weight", 0), *previous)

    patches, dim, text_dim = size("vision.position", 1), size("vision.norm.weight", 0), size("text.norm.weight", 0)
    grid = round(patches**0.5)
    if grid**2 != patches:
        positions = ", ".join(layout.sources("vision.position"))
        raise WeightsError(f"{path}: {positions} is for {patches} patches, expected a square number, and (1,patches,D)")
    heads, text_heads = _heads(settings, dim, text_dim, path)
    if dim % heads or text_dim % text_heads:
        raise WeightsError(
            f"{path}: its settings say {heads} heads of attention for {dim} channels of pictures and {text_heads} for "
            f"{text_dim} of texts, expected divisors: is the configuration the one that it was published with?"
        )
    stages = tuple(stage(number) for number in range(_count(own, r"vision\.stages\.(\d+)\.")))
    hidden = size("vision.stages.0.blocks.0.mlp.fc1.weight", 0)
    vision = VisionShape(dim, heads, size("vision.patch.weight", 2), grid, hidden, stages)
    text = TextShape(
        size("text.positional_embedding", 0),
        size("text.token_embedding.weight", 0),
        text_dim,
        text_heads,
        _count(own, r"text\.blocks\.(\d+)\."),
    )
    return GroupVitShape(vision, text, size("image_projector.fc1.weight", 0), size("image_projector.fc2.weight", 0))


def _count(own: Mapping[str, Tensor], pattern: str) -> int:
    return 1 + max((int(match[1]) for name in own if (match := re.match(pattern, name))), default=-1)


def _heads(settings: Mapping[str, Any], dim: int, text_dim: int, path: Path) -> tuple[int, int]:
    """Number of heads of the picture and the text tower: attention runs with any, and only with one rightly."""
    if "vision_config" in settings:  # Hugging Face's; what is left out there has the published value
        vision, text = settings["vision_config"] or {}, settings.get("text_config") or {}
        return (
            int(vision.get("num_attention_heads", PUBLISHED_HEADS)),
            int(text.get("num_attention_heads", PUBLISHED_TEXT_HEADS)),
        )
    heads: Any = settings
    for name in ("model", "img_encoder", "num_heads"):
        heads = heads.get(name) if isinstance(heads, Mapping) else None
    if isinstance(heads, list) and len(set(heads)) == 1:  # one a stage
        heads = heads[0]
    if heads is None and dim == PUBLISHED_DIM:
        heads = PUBLISHED_HEADS
    if not isinstance(heads, int) or heads < 1:
        raise WeightsError(
            f"{path} says nothing of its heads of attention, and its {dim} channels are not the published "
            f"{PUBLISHED_DIM}: expected the training's configuration in it, or config.json beside it"
        )
    return heads, max(text_dim // TEXT_HEAD_DIM, 1)


def _check(model: GroupVit, own: Mapping[str, Tensor], layout: Layout, path: Path) -> None:
    """Refuse what is missing, left over or of another shape, in the words of the file."""
    expected = model.state_dict()

    def theirs(name: str) -> str:
        return ", ".join(layout.sources(name))

    problems = [
        *(f"{theirs(name)} is missing" for name in expected if name not in own),
        *(f"{theirs(name)} belongs to nothing that the model has" for name in own if name not in expected),
        *(
            f"{theirs(name)} of shape {tuple(own[name].shape)}, expected {tuple(value.shape)}"
            for name, value in expected.items()
            if name in own and own[name].shape != value.shape
        ),
    ]
    if problems:
        raise WeightsError(
            f"{path} is no whole GroupViT: {'; '.join(problems[:6])}"
            + (f"; and {len(problems) - 6} more" if len(problems) > 6 else "")
            + ". Expected the file as it was published."
        )


def _reported(name: str, value: Tensor, place: Place) -> ImportedKey:
    note = "loaded as a linear layer" if _is_convolution(value, place) else place.note
    return ImportedKey(name, tuple(value.shape), place.target, note)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


__all__ = ["GroupVitFile", "load_groupvit", "plain"]
