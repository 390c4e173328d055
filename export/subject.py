"""What is exported: a model, and everything else that its bundle must say."""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from export.errors import DamagedSubjectError, SubjectError
from runtime.bundle import BackgroundSpec, Refinement, TextSpec
from tcl_core.encoder import TextEncoder
from tcl_core.errors import WeightsError
from tcl_core.load import toy
from tcl_core.load.choice import RANDOM, ModelChoice
from tcl_core.load.fingerprint import fingerprint
from tcl_core.load.model import LoadedModel, load_model
from tcl_core.load.toy import ToyTextEncoder
from tcl_core.model import TCL
from tcl_core.prompts import Templates, templates
from tcl_core.segment import THRESHOLD
from tcl_core.tiny.file import DEFAULT_PATH
from tcl_core.tiny.towers import PAD_ID, UNKNOWN_ID, TinyTextEncoder

if TYPE_CHECKING:
    from export.tokenizer import TokenizerFile


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


def load_subject(choice: ModelChoice, *, prompts: str | None = None, licence: str | None = None) -> Subject:
    """Load a model.

    Args:
        choice: which.
        prompts: name of the templates that words are put into; None for the model's own.
        licence: SPDX expression of the weights; None if the user did not say.

    Raises:
        SubjectError: there is no such model, or its tokenizer cannot be had, does not fit, or cannot be written as a
            file.
        DamagedSubjectError: its weights are damaged, unsafe, of another model, or cannot be had.
    """
    try:
        used = None if prompts is None else templates(prompts)
        loaded = load_model(choice)
        return _subject(loaded, used or templates(loaded.templates), prompts or loaded.templates, licence)
    except WeightsError as error:
        raise DamagedSubjectError(str(error)) from error
    except (ValueError, FileNotFoundError) as error:  # of tcl_core, which say what to do
        raise SubjectError(str(error)) from error


def _subject(loaded: LoadedModel, prompts: Templates, prompts_name: str, licence: str | None) -> Subject:
    choice, model = loaded.choice, loaded.model
    encoder = model.text_encoder
    file = _tokenizer_of(encoder)
    if choice.is_tiny:
        sha256, licence = hashlib.sha256(DEFAULT_PATH.read_bytes()).hexdigest(), licence or "Apache-2.0"
        card = (DEFAULT_PATH.parent / "MODEL_CARD.md").read_bytes()
    else:
        sha256 = fingerprint([model])
        card = _model_card(choice, prompts_name, sha256, licence).encode()
    return Subject(
        name=choice.name,
        model=model,
        checkpoint_sha256=sha256,
        licence=licence or "NOASSERTION",
        model_card=card,
        tokenizer=file.json,
        text=TextSpec(
            tokenizer="tokenizer.json",
            pad_id=file.pad_id,
            unknown_id=file.unknown_id,
            context_length=encoder.context_length,
            templates=prompts.prompts,
            averaging=prompts.averaging,
        ),
        background=BackgroundSpec(
            words=loaded.background, threshold=THRESHOLD if loaded.threshold is None else loaded.threshold
        ),
        classes=loaded.classes,
        token_length=_token_length(encoder),
        refine="pamr" if loaded.pamr else "none",
    )


def _tokenizer_of(encoder: TextEncoder) -> "TokenizerFile":
    from export.tokenizer import TokenizerFile, tokenizer_file

    if isinstance(encoder, TinyTextEncoder):
        return TokenizerFile(encoder.tokenizer.to_str().encode(), PAD_ID, UNKNOWN_ID)
    if isinstance(encoder, ToyTextEncoder):
        return TokenizerFile(encoder.tokenizer.to_str().encode(), toy.PAD_ID, None)
    tokenizer = getattr(encoder, "tokenizer", None)
    if tokenizer is None:
        raise SubjectError(f"{type(encoder).__name__} reads words without a tokenizer and cannot be exported")
    return tokenizer_file(tokenizer)


def _token_length(encoder: TextEncoder) -> int | None:
    """Tell whether padding is seen: by attention in both directions, or by a readout at the last place."""
    from tcl_core.towers.clip_text import ClipTextEncoder

    if isinstance(encoder, TinyTextEncoder):
        return None
    if isinstance(encoder, ClipTextEncoder) and encoder.is_causal and encoder.pool != "last":
        return None
    return encoder.context_length


def _model_card(choice: ModelChoice, prompts: str, sha256: str, licence: str | None) -> str:
    weights = choice.pretrained or "in the file"
    warning = "\n**The weights are random: the masks mean nothing.**\n" if choice.pretrained == RANDOM else ""
    return f"""# {choice.model}
{warning}
- image and text encoder: {choice.model}, weights: {weights}
- head: {choice.chosen_head}{f", checkpoint {choice.checkpoint.name}" if choice.checkpoint else ""}
- prompts: {prompts}
- sha256 of all tensors: {sha256}
- licence of the weights: {licence or "NOASSERTION (not stated at export)"}

Exported by `python -m export`; `manifest.json` holds the comparison with PyTorch. Nothing is said here about how well
the model segments.
"""


__all__ = ["Subject", "load_subject"]
