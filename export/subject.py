"""What is exported: a model, and everything else that its bundle must say."""

from dataclasses import dataclass

from runtime.bundle import BackgroundSpec, TextSpec
from tcl_core import TCL


class SubjectError(Exception):
    """There is no such model to export."""


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
