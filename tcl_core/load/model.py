"""A model loaded by its choice, with what it expects when the user does not say."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tcl_core.data.scenes import PHRASES
from tcl_core.load.choice import ModelChoice
from tcl_core.load.toy import ToyTextEncoder
from tcl_core.model import TCL
from tcl_core.prompts import Word, embed_words, parse_words, templates
from tcl_core.tiny.file import load_tiny, read_tiny_config
from tcl_core.tiny.towers import TinyTextEncoder

CLASSES = ("person", "dog", "cat", "car", "bicycle", "chair", "table", "book", "bottle", "cup", "flower")


SAME_MEANING = 0.9
"""Cosine from which a background word and a word to be found mean the same; the runtime's own."""


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model and its defaults.

    Attributes:
        choice: what was asked for.
        model: on the CPU, in evaluation mode.
        templates: name of a set of prompts, see `tcl_core.prompts.templates`.
        background: words that count as background.
        threshold: soft mask that a word must exceed; None for the paper's.
        classes: words to begin with.
        whole_pictures: whether it was made for whole pictures at once, as the runtime sees them; the paper's models see
            square windows.
        pamr: whether its masks are refined by PAMR unless the user says otherwise, in PyTorch and in its bundle.
    """

    choice: ModelChoice
    model: TCL
    templates: str = "custom"
    background: tuple[str, ...] = ()
    threshold: float | None = None
    classes: tuple[str, ...] = CLASSES
    whole_pictures: bool = False
    pamr: bool = False

    def background_words(self, given: str | None, words: Sequence[Word]) -> tuple[Word, ...]:
        """Decide which words count as background.

        Args:
            given: as the user typed them, '' for none; None for the model's own.
            words: to be found, which are not background.

        Raises:
            ValueError: what was typed cannot be read.
        """
        if given is not None:
            return tuple(parse_words(given)) if given.strip() else ()
        if not self.background or not words:
            return tuple(Word(word, (word,)) for word in self.background)
        # As the runtime does: "road" is no background where "asphalt" is to be found.
        known = [synonym for word in words for synonym in word.synonyms]
        rows = embed_words(self.model.text_encoder, [*self.background, *known], templates(self.templates))
        cosines = (rows[: len(self.background)] @ rows[len(self.background) :].T).amax(dim=1)
        kept = (cosines < SAME_MEANING).tolist()
        return tuple(Word(word, (word,)) for word, keep in zip(self.background, kept, strict=True) if keep)


def load_model(choice: ModelChoice) -> LoadedModel:
    """Load the model that is meant.

    Raises:
        ValueError: no such name, or no weights were named for it.
        WeightsError: weights that cannot be had, are damaged, unsafe, or do not fit.
    """
    model = _load(choice)
    if isinstance(model.text_encoder, TinyTextEncoder):
        config = read_tiny_config()
        words, threshold = config.background_words, config.background_threshold
        return LoadedModel(choice, model, "none", words, threshold, whole_pictures=True, pamr=True)
    if isinstance(model.text_encoder, ToyTextEncoder):
        return LoadedModel(choice, model, "none", classes=PHRASES[:8])
    return LoadedModel(choice, model)


def _load(choice: ModelChoice) -> TCL:
    if choice.kind == "tiny":
        return load_tiny()
    if choice.kind == "trained":
        from tcl_core.load.hub import import_model

        return import_model(Path(choice.model), clip=choice.pretrained)
    from tcl_core.load.published import load_published  # open_clip takes seconds to import

    return load_published(choice)


__all__ = ["CLASSES", "LoadedModel", "load_model"]
