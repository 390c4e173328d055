"""Published weights -> TCL: CLIP from anywhere, and the grounder from the official `tcl.pth`."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tcl_core.encoder import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from tcl_core.errors import WeightsError
from tcl_core.grounder import Grounder, grounder_for
from tcl_core.model import TCL
from tcl_core.towers.names import HEADS
from tcl_core.towers.open_clip import (
    ClipModel,
    image_encoder_from,
    named_clip,
    openai_layout_clip,
    preprocess_of,
    text_encoder_from,
)
from tcl_core.towers.vit import ViTEncoder
from tcl_core.towers.weights_file import load_strictly, read_weights_file, tensors_of

TCL_SIZE = 448

BLOCK = re.compile(r"masker\.image_encoder\.backbone\.transformer\.resblocks\.(\d+)\.(.+)")
STAGE = re.compile(r"masker\.image_encoder\.decoder\.decoder\.net\.(\d+)\.(conv|conv2)\.(.+)")
CONVOLUTION_NAMES = {"conv": "first", "conv2": "second"}
BLOCK_NAMES = {
    "ln_1.weight": "norm1.weight",
    "ln_1.bias": "norm1.bias",
    "attn.in_proj_weight": "attention.qkv.weight",
    "attn.in_proj_bias": "attention.qkv.bias",
    "attn.out_proj.weight": "attention.out.weight",
    "attn.out_proj.bias": "attention.out.bias",
    "ln_2.weight": "norm2.weight",
    "ln_2.bias": "norm2.bias",
    "mlp.c_fc.weight": "mlp.c_fc.weight",
    "mlp.c_fc.bias": "mlp.c_fc.bias",
    "mlp.c_proj.weight": "mlp.c_proj.weight",
    "mlp.c_proj.bias": "mlp.c_proj.bias",
}
# The last block attends to nothing but itself, so of its attention only values and output are kept.
FINAL_BLOCK_NAMES = BLOCK_NAMES | {
    "attn.in_proj_weight": "value.weight",
    "attn.in_proj_bias": "value.bias",
    "attn.out_proj.weight": "out.weight",
    "attn.out_proj.bias": "out.bias",
}
OTHER_NAMES = {
    "masker.image_encoder.decoder.image_proj.ln.weight": "projection.module.readout.norm.weight",
    "masker.image_encoder.decoder.image_proj.ln.bias": "projection.module.readout.norm.bias",
    "masker.image_encoder.decoder.image_proj.proj": "projection.module.readout.projection.weight",
    "masker.sim2mask.w": "similarity_to_mask.scale",
    "masker.sim2mask.b": "similarity_to_mask.bias",
}
# Beginnings of names that inference does not need, and why.
IGNORED = {
    "tcli_loss.": "temperature of a loss",
    "tclf_loss.": "temperature of a loss",
    "pamr.": "fixed kernels of the refinement",
}
# Where a training checkpoint keeps the frozen CLIP, and what its parts are called in CLIP itself.
FROZEN = {
    "clip_text_encoder.": "",
    "clip_image_encoder.clip_visual.": "visual.",
    "clip_image_encoder.clip_proj.ln.": "visual.ln_post.",
    "clip_image_encoder.clip_proj.proj": "visual.proj",
}


@dataclass(frozen=True)
class ImportedKey:
    """What became of one tensor of a file.

    Attributes:
        source: its name in the file.
        shape: its shape in the file.
        target: name of the parameter it went to; empty if none.
        note: what was done with it, or why nothing.
    """

    source: str
    shape: tuple[int, ...]
    target: str
    note: str


@dataclass(frozen=True)
class ImportReport:
    """Every tensor of a file, in its order."""

    path: str
    keys: tuple[ImportedKey, ...]

    def __str__(self) -> str:
        """A line a tensor."""
        lines = (f"{key.source} {list(key.shape)} -> {key.target or '(nothing)'}: {key.note}" for key in self.keys)
        return "\n".join((self.path, *lines))


def load_clip(clip: str | Path, pretrained: str | None = None) -> ClipModel:
    """Load a CLIP model.

    Args:
        clip: a file in OpenAI's layout (the published archives or a state dict), which describes itself; or an
            open_clip name, whose weights `pretrained` names; or `hf-hub:OWNER/NAME`.
        pretrained: tag known to open_clip, or a file.

    Raises:
        ValueError: no such model or weights.
        WeightsError: the weights are damaged, unsafe, or do not fit.
    """
    name = str(clip)
    if not Path(name).is_file():
        if pretrained is None and ("/" in name or "." in name) and ":" not in name:
            raise FileNotFoundError(f"no file {name}: expected weights of CLIP, an open_clip name or hf-hub:OWNER/NAME")
        return named_clip(name, pretrained)
    if pretrained is not None:
        raise ValueError(
            f"{name} is a file and {pretrained!r} names other weights: give one, or an open_clip name first"
        )
    content = read_weights_file(name)
    if isinstance(content, Mapping) and "state_dict" in content:
        raise WeightsError(
            f"{name} is a training checkpoint of open_clip, which does not say whether it needs QuickGELU: name its "
            "architecture and give the file as its weights (pretrained)"
        )
    return openai_layout_clip(tensors_of(content, name), name)


def load_tcl(
    clip: str | Path,
    checkpoint: str | Path | None = None,
    head: str = "tcl",
    *,
    pretrained: str | None = None,
    on_report: Callable[[ImportReport], None] | None = None,
) -> TCL:
    """Build a model from published weights.

    Args:
        clip: file or name of a CLIP, see `load_clip`.
        checkpoint: official TCL checkpoint, released or written while training. Without one, head `tcl` is an
            untrained grounder: MaskCLIP at four times the resolution, what training starts from.
        head: `tcl`, or a training-free one: `maskclip`, `sclip`, `clearclip`, `naclip`.
        pretrained: weights for a `clip` that is a name.
        on_report: called with what became of every tensor of the checkpoint.

    Returns:
        The model on the CPU, in evaluation mode, in float32.

    Raises:
        ValueError: unknown names, or arguments that contradict each other.
        WeightsError: weights that are damaged, unsafe, or do not fit.
    """
    if head not in HEADS:
        raise ValueError(f"no head {head!r}: expected one of {', '.join(HEADS)}")
    if checkpoint is not None and head != "tcl":
        raise ValueError(f"head {head} is training-free and takes no checkpoint: leave out one of them")
    source = load_clip(clip, pretrained)
    return tcl_from_clip(source, checkpoint, head, on_report=on_report)


def tcl_from_clip(
    clip: ClipModel,
    checkpoint: str | Path | None = None,
    head: str = "tcl",
    *,
    on_report: Callable[[ImportReport], None] | None = None,
) -> TCL:
    """Build a model on a CLIP that is loaded already; see `load_tcl`. The CLIP is taken over, not copied."""
    if checkpoint is not None:
        state = tensors_of(read_weights_file(checkpoint), str(checkpoint))
        _check_frozen_parts(state, clip, str(checkpoint))
    image_encoder = image_encoder_from(clip, "maskclip" if head == "tcl" else head)
    preprocess = preprocess_of(clip, image_encoder)
    grounder = Grounder() if head != "tcl" else grounder_for(image_encoder)
    if checkpoint is not None:
        if not isinstance(image_encoder, ViTEncoder):
            raise WeightsError(f"{checkpoint} was trained on a vision transformer and {clip.name} is none")
        image_encoder = image_encoder.with_late_blocks(_num_owned_blocks(state, image_encoder, str(checkpoint)))
        grounder, report = official_grounder(state, image_encoder, str(checkpoint))
        # TCL trained on images normalised so although its CLIP was not (the authors say so in a comment).
        preprocess = Preprocess(IMAGENET_MEAN, IMAGENET_STD, TCL_SIZE, multiple_of=image_encoder.stride)
        if on_report:
            on_report(report)
    return TCL(image_encoder, text_encoder_from(clip), grounder, preprocess).eval()


def official_grounder(state: Mapping[str, Tensor], encoder: ViTEncoder, path: str) -> tuple[Grounder, ImportReport]:
    """Make the grounder that an official checkpoint holds.

    Args:
        state: tensors of the checkpoint by their official names.
        encoder: the frozen tower it was trained on, with as many late blocks as the grounder owns.
        path: for messages.

    Raises:
        WeightsError: no TCL checkpoint, names left over, other shapes, or blocks that the tower does not have.
    """
    if _num_owned_blocks(state, encoder, path) != encoder.num_late:
        raise ValueError(f"an encoder with {encoder.num_late} late block(s): expected those that {path} owns")
    num_stages = 1 + max((int(match[1]) for name in state if (match := STAGE.fullmatch(name))), default=-1)
    grounder = grounder_for(encoder, num_stages)
    places = {name: _place(name, encoder) for name in state}
    left_over = [name for name, place in places.items() if place is None]
    if left_over:
        raise WeightsError(f"{path} has names that are not known here: {', '.join(left_over[:8])}")
    found = {name: place for name, place in places.items() if place is not None}
    keys = tuple(ImportedKey(name, tuple(state[name].shape), to.target, to.note) for name, to in found.items())
    loaded = {to.target: to.adapted(state[name]) for name, to in found.items() if to.target}
    load_strictly(grounder, loaded, path)
    return grounder, ImportReport(path, keys)


def _num_owned_blocks(state: Mapping[str, Tensor], encoder: ViTEncoder, path: str) -> int:
    """Count the blocks that the grounder copied when it was made: all from number `ie_freeze` on."""
    if not any(name.startswith("masker.") for name in state):
        raise WeightsError(f"{path} is no TCL checkpoint: no name begins with 'masker.'; is it the CLIP file?")
    owned = sorted({int(match[1]) for name in state if (match := BLOCK.fullmatch(name))})
    last = len(encoder.blocks)
    if not owned or owned != list(range(owned[0], last + 1)) or owned[0] == 0:
        raise WeightsError(
            f"{path} trains blocks {owned} of the tower; expected the last one, {last}, or several up to it and not "
            f"the first. Does it belong to another CLIP? (ViT-B has 12 blocks, ViT-L 24)"
        )
    return len(owned)


@dataclass(frozen=True)
class _Place:
    """The parameter that a tensor goes to, how that reads in a report, and what is done with the tensor on the way."""

    target: str
    note: str = "loaded"
    adapted: Callable[[Tensor], Tensor] = lambda tensor: tensor


def _place(name: str, encoder: ViTEncoder) -> _Place | None:
    """Find the place of a tensor, which may be nowhere; None if the name is not known."""
    if match := BLOCK.fullmatch(name):
        return _place_in_block(int(match[1]), match[2], encoder)
    if match := STAGE.fullmatch(name):
        part = match[3].replace("gate.gate", "gate")
        return _Place(f"decoder.{match[1]}.{CONVOLUTION_NAMES[match[2]]}.{part}")
    if name in OTHER_NAMES:
        target = OTHER_NAMES[name]
        return _Place(target, "transposed", lambda matrix: matrix.T) if name.endswith(".proj") else _Place(target)
    if any(name.startswith(prefix) for prefix in FROZEN):
        return _Place("", "equal to the given CLIP, which is used")
    return next((_Place("", why) for prefix, why in IGNORED.items() if name.startswith(prefix)), None)


def _place_in_block(number: int, part: str, encoder: ViTEncoder) -> _Place | None:
    if part not in BLOCK_NAMES:
        return None
    last = len(encoder.blocks)
    if number < last:
        return _Place(f"blocks.blocks.{number - (last + 1 - encoder.num_late)}.{BLOCK_NAMES[part]}")
    home = "blocks.module." if encoder.num_late == 1 else "blocks.final_block."
    target = home + FINAL_BLOCK_NAMES[part]
    if part.startswith("attn.in_proj"):
        note = "rows of the values; queries and keys have no effect"
        return _Place(target, note, lambda rows: rows[2 * (rows.shape[0] // 3) :])
    return _Place(target)


def _check_frozen_parts(state: Mapping[str, Tensor], clip: ClipModel, path: str) -> None:
    """Compare the CLIP inside a training checkpoint with the one given: a grounder fits only the CLIP it grew on."""
    if not clip.quick_gelu:
        raise WeightsError(
            f"{path} was trained on OpenAI's CLIP, which has QuickGELU, and {clip.name} has GELU: take "
            "ViT-B-16-quickgelu with pretrained openai, or OpenAI's own file"
        )
    given = clip.model.state_dict()
    for name, value in state.items():
        prefix = next((prefix for prefix in FROZEN if name.startswith(prefix)), None)
        if prefix is None:
            continue
        own = given.get(FROZEN[prefix] + name.removeprefix(prefix))
        if own is None or own.shape != value.shape or not torch.allclose(own, value, atol=1e-4):
            raise WeightsError(
                f"{path} was trained on another CLIP than {clip.name}: they differ in {name}. Give the CLIP it was "
                "trained on (for the published one, OpenAI's ViT-B/16)."
            )


__all__ = [
    "ImportReport",
    "ImportedKey",
    "load_clip",
    "load_tcl",
    "official_grounder",
    "tcl_from_clip",
]
