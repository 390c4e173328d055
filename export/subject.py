"""What is exported: a model, and everything else that its bundle must say."""

import difflib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from runtime.bundle import BackgroundSpec, TextSpec
from tcl_core import TCL
from tcl_core.tiny import DEFAULT_PATH, PAD_ID, UNKNOWN_ID, load_tiny, read_tiny_config


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


def _tiny() -> Subject:
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
        classes=("person", "dog", "cat", "car", "bicycle", "chair", "table", "book", "bottle", "cup", "flower"),
    )


SUBJECTS: dict[str, Callable[[], Subject]] = {"tiny": _tiny}


def load_subject(name: str) -> Subject:
    """Load a model by name.

    Raises:
        SubjectError: there is none of that name.
    """
    if name not in SUBJECTS:
        near = difflib.get_close_matches(name, SUBJECTS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(SUBJECTS)}"
        raise SubjectError(f"no model {name!r}: {hint}")
    return SUBJECTS[name]()
