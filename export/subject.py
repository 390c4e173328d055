"""What is exported: a model, and everything else that its bundle must say."""

import difflib
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from export.errors import SubjectError
from runtime.bundle import BackgroundSpec, Refinement, TextSpec
from tcl_core import TCL
from tcl_core.encoder import TextEncoder
from tcl_core.tiny.file import DEFAULT_PATH, load_tiny, read_tiny_config
from tcl_core.tiny.towers import PAD_ID, UNKNOWN_ID, TinyTextEncoder

if TYPE_CHECKING:
    from export.tokenizer import TokenizerFile
    from tcl_core.towers.open_clip import ClipModel

RANDOM = "random"
"""In place of weights: drawn at random, to measure speed and memory of a model whose weights are elsewhere."""

CLASSES = ("person", "dog", "cat", "car", "bicycle", "chair", "table", "book", "bottle", "cup", "flower")
THRESHOLD = 0.5
"""Soft mask below which a pixel is background, in the paper."""
TINY_REFINEMENT: Refinement = "pamr"
"""A tenth of a frame's time, and more of the picture right (docs/tiny.md)."""


@dataclass(frozen=True)
class Choice:
    """Which model to export.

    Attributes:
        model: `tiny`, a file of CLIP weights, an open_clip name, `hf-hub:OWNER/NAME`, `local-dir:PATH`, or a directory
            that training wrote (config.json and model.safetensors).
        pretrained: weights of an open_clip name: a tag, a file, or `random`; for a directory, where its CLIP is now.
        checkpoint: official TCL checkpoint.
        head: `tcl`, or a training-free one; None for `tcl` with a checkpoint and `maskclip` without.
        tokenizer: directory with `tokenizer.json` and `tokenizer_config.json`, for models whose tokenizer is not part
            of open_clip (SigLIP); None to let open_clip find it.
        templates: prompts that words are put into, see `tcl_core.prompts.templates`.
        licence: SPDX expression of the weights; None if the user did not say.
    """

    model: str = "tiny"
    pretrained: str | None = None
    checkpoint: Path | None = None
    head: str | None = None
    tokenizer: Path | None = None
    templates: str = "custom"
    licence: str | None = None


@dataclass(frozen=True, eq=False)
class Subject:
    """A model with its words' tokenizer, its provenance and its defaults.

    Attributes:
        name: of the model.
        model: in PyTorch.
        checkpoint_sha256: of the weights it was loaded from.
        licence: SPDX expression of those weights.
        model_card: Markdown.
        tokenizer: JSON of the `tokenizers` library.
        text: how words become tokens.
        background: default background.
        classes: default words.
        token_length: length that every token row must have; None if shorter rows give the same embedding.
        refine: how the runtime moves the masks to edges in the frame by default.
    """

    name: str
    model: TCL
    checkpoint_sha256: str
    licence: str
    model_card: bytes
    tokenizer: bytes
    text: TextSpec
    background: BackgroundSpec
    classes: tuple[str, ...]
    token_length: int | None = None
    refine: Refinement = "none"


def load_subject(choice: Choice) -> Subject:
    """Load a model.

    Raises:
        SubjectError: there is no such model or head, or its weights or tokenizer cannot be had or do not fit.
    """
    try:
        if choice.model == "tiny":
            return _tiny(choice)
        if (Path(choice.model) / "config.json").is_file():
            return _trained(choice)
        return _clip(choice)
    except (ValueError, FileNotFoundError) as error:  # of tcl_core, which say what to do
        raise SubjectError(str(error)) from error


def _tiny(choice: Choice) -> Subject:
    if choice.pretrained or choice.checkpoint or choice.tokenizer or choice.head not in (None, "tcl"):
        raise SubjectError("tiny brings its own weights, head and tokenizer: leave the options for them out")
    config = read_tiny_config()
    return Subject(
        name="tiny",
        model=load_tiny(),
        checkpoint_sha256=hashlib.sha256(DEFAULT_PATH.read_bytes()).hexdigest(),
        licence="Apache-2.0",
        model_card=(DEFAULT_PATH.parent / "MODEL_CARD.md").read_bytes(),
        tokenizer=DEFAULT_PATH.with_suffix(".tokenizer.json").read_bytes(),
        text=TextSpec(
            tokenizer="tokenizer.json",
            pad_id=PAD_ID,
            unknown_id=UNKNOWN_ID,
            context_length=config.context_length,
        ),
        background=BackgroundSpec(words=config.background_words, threshold=config.background_threshold),
        classes=CLASSES,
        refine=TINY_REFINEMENT,
    )


def _clip(choice: Choice) -> Subject:
    from tcl_core.prompts import TEMPLATE_NAMES
    from tcl_core.towers.official import HEADS, tcl_from_clip

    head = choice.head or ("tcl" if choice.checkpoint else "maskclip")
    _check_name("head", head, HEADS)
    _check_name("templates", choice.templates, TEMPLATE_NAMES)
    if choice.checkpoint and head != "tcl":
        raise SubjectError(f"head {head} is training-free and takes no checkpoint: leave out one of them")
    clip = _load_clip(choice)
    model = tcl_from_clip(clip, choice.checkpoint, head)
    if choice.pretrained == RANDOM:
        _open_gates(model)
    name = Path(choice.model).name if Path(choice.model).is_file() else choice.model
    return _subject_of(model, choice, name, head)


def _trained(choice: Choice) -> Subject:
    from tcl_core.load.hub import import_model

    if choice.checkpoint or choice.tokenizer or choice.head not in (None, "tcl"):
        raise SubjectError(f"{choice.model} is a trained model with a head of its own: leave those options out")
    directory = Path(choice.model)
    return _subject_of(import_model(directory, clip=choice.pretrained), choice, directory.resolve().name, "tcl")


def _subject_of(model: TCL, choice: Choice, name: str, head: str) -> Subject:
    from tcl_core.load.fingerprint import fingerprint
    from tcl_core.prompts import templates

    encoder = model.text_encoder
    file, background = _tokenizer_of(encoder), BackgroundSpec(threshold=THRESHOLD)
    prompts = templates(choice.templates)
    if isinstance(encoder, TinyTextEncoder):
        config, prompts = read_tiny_config(), templates("none")
        background = BackgroundSpec(words=config.background_words, threshold=config.background_threshold)
    sha256, licence = fingerprint([model]), choice.licence or "NOASSERTION"
    return Subject(
        name=name,
        model=model,
        checkpoint_sha256=sha256,
        licence=licence,
        model_card=_model_card(choice, head, sha256, licence).encode(),
        tokenizer=file.json,
        text=TextSpec(
            tokenizer="tokenizer.json",
            pad_id=file.pad_id,
            unknown_id=file.unknown_id,
            context_length=encoder.context_length,
            templates=prompts.prompts,
            averaging=prompts.averaging,
        ),
        background=background,
        classes=CLASSES,
        token_length=_token_length(encoder),
        refine=TINY_REFINEMENT if isinstance(encoder, TinyTextEncoder) else "none",
    )


def _tokenizer_of(encoder: TextEncoder) -> "TokenizerFile":
    from export.tokenizer import TokenizerFile, tokenizer_file

    if isinstance(encoder, TinyTextEncoder):
        return TokenizerFile(encoder.tokenizer.to_str().encode(), PAD_ID, UNKNOWN_ID)
    tokenizer = getattr(encoder, "tokenizer", None)
    if tokenizer is None:
        raise SubjectError(f"{type(encoder).__name__} reads words without a tokenizer and cannot be exported")
    return tokenizer_file(tokenizer)


def _load_clip(choice: Choice) -> "ClipModel":
    import open_clip

    from tcl_core.towers.official import load_clip
    from tcl_core.towers.open_clip import HUB_SCHEMES, named_clip, random_clip

    name = choice.model
    tokenizer = None if choice.tokenizer is None else _named_tokenizer(choice.tokenizer, name)
    if Path(name).is_file() and choice.tokenizer is None:
        return load_clip(name, choice.pretrained)
    if not name.startswith(HUB_SCHEMES) and "/" not in name and not name.endswith((".pt", ".pth", ".safetensors")):
        _check_name("model", name, ["tiny", *open_clip.list_models()])
    if choice.pretrained == RANDOM:
        torch.manual_seed(0)
        return random_clip(name, tokenizer)
    if tokenizer is None:
        return load_clip(name, choice.pretrained)
    return named_clip(name, choice.pretrained, tokenizer)


def _named_tokenizer(path: Path, name: str) -> Any:
    """Open a Hugging Face tokenizer from a directory, with the cleaning that open_clip's model asks for."""
    import open_clip

    directory = path.parent if path.name == "tokenizer.json" else path
    missing = [file for file in ("tokenizer.json", "tokenizer_config.json") if not (directory / file).is_file()]
    if missing:
        raise SubjectError(
            f"no {' and no '.join(missing)} in {directory}: expected a directory with both, as the model's page on the "
            "Hugging Face hub has them (a sentencepiece .model alone does not say which token pads)"
        )
    text = (open_clip.get_model_config(name) or {}).get("text_cfg", {})
    if not text.get("hf_tokenizer_name"):
        raise SubjectError(f"{name} has CLIP's own tokenizer: leave --tokenizer out")
    return open_clip.tokenizer.HFTokenizer(
        str(directory), context_length=text.get("context_length", 77), **text.get("tokenizer_kwargs", {})
    )


def _check_name(what: str, name: str, known: Iterable[str]) -> None:
    names = list(known)
    if name in names:
        return
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    few = len(names) <= 10
    hint = f"did you mean {' or '.join(near)}?" if near else ""
    expected = "expected " + (f"one of {', '.join(names)}" if few else "tiny, an open_clip name, a file or hf-hub:NAME")
    raise SubjectError(f"no {what} {name!r}: {hint or expected}")


def _open_gates(model: TCL) -> None:
    """Let an untrained decoder take part, with random weights: closed gates would hide what it computes."""
    from tcl_core.grounder import GatedConvolution

    for module in model.modules():
        if isinstance(module, GatedConvolution):
            torch.nn.init.constant_(module.gate, 0.5)


def _token_length(encoder: TextEncoder) -> int | None:
    """Tell whether padding is seen: by attention in both directions, or by a readout at the last place."""
    from tcl_core.towers.clip_text import ClipTextEncoder

    if isinstance(encoder, TinyTextEncoder):
        return None
    if isinstance(encoder, ClipTextEncoder) and encoder.is_causal and encoder.pool != "last":
        return None
    return encoder.context_length


def _model_card(choice: Choice, head: str, sha256: str, licence: str) -> str:
    weights = choice.pretrained or "in the file"
    warning = "\n**The weights are random: the masks mean nothing.**\n" if choice.pretrained == RANDOM else ""
    return f"""# {choice.model}
{warning}
- image and text encoder: {choice.model}, weights: {weights}
- head: {head}{f", checkpoint {choice.checkpoint.name}" if choice.checkpoint else ""}
- prompts: {choice.templates}
- sha256 of all tensors: {sha256}
- licence of the weights: {licence}{" (not stated at export)" if choice.licence is None else ""}

Exported by `python -m export`; `manifest.json` holds the comparison with PyTorch. Nothing is said here about how well
the model segments.
"""


__all__ = ["RANDOM", "Choice", "Subject", "load_subject"]
