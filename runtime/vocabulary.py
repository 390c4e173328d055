"""Words: from what a user types to the rows of text embeddings that the segmenter graph takes."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from runtime.errors import BundleCorruptError, VocabularyError

Embeddings = npt.NDArray[np.float32]

LONGEST_PHRASE = 200
"""Characters. Longer than any noun phrase; far shorter than a file pasted by mistake."""

LARGEST_VOCABULARY = 65_534
"""Classes. With the background they must fit the largest label type, uint16."""

BACKGROUND = "background"


@dataclass(frozen=True)
class WordClass:
    """One class to segment: a name and phrases that mean the same. Its mask is the maximum over all of them."""

    name: str
    synonyms: tuple[str, ...] = ()

    @property
    def phrases(self) -> tuple[str, ...]:
        """The name, then the synonyms."""
        return (self.name, *self.synonyms)


def parse_classes(classes: str | Iterable[str]) -> tuple[WordClass, ...]:
    """Read classes as typed: "cat, sofa|couch, floor", or a sequence with one class an item.

    A string that names a `.txt` file is replaced by the file's lines (empty lines and `#` comments left out).

    Raises:
        VocabularyError: no word, an empty synonym, a word twice, a word longer than 200 characters.
    """
    parsed = tuple(_parse_class(item) for item in _items(classes))
    if not parsed:
        raise VocabularyError('no words to segment: name at least one, like "cat, sofa|couch, floor"')
    if len(parsed) > LARGEST_VOCABULARY:
        raise VocabularyError(f"{len(parsed)} classes given, at most {LARGEST_VOCABULARY} can be told apart")
    _refuse_duplicates(phrase for word in parsed for phrase in word.phrases)
    return parsed


def parse_phrases(phrases: str | Iterable[str]) -> tuple[str, ...]:
    """Read a list of phrases, as for a background: "wall, floor" -> ("wall", "floor"); may be empty."""
    return tuple(phrase for item in _items(phrases) for phrase in _parse_class(item).phrases)


def _items(classes: str | Iterable[str]) -> list[str]:
    if not isinstance(classes, str):
        return list(classes)
    if classes.strip().endswith(".txt"):
        try:
            lines = Path(classes.strip()).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise VocabularyError(f"the word list {classes.strip()!r} cannot be read: {error}") from None
        return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return [item for item in re.split(r"[,\n]", classes) if item.strip()]


def _parse_class(item: str) -> WordClass:
    if not isinstance(item, str):
        raise VocabularyError(f"a class is text, not {type(item).__name__}: {item!r}")
    name, *synonyms = (" ".join(phrase.split()) for phrase in item.split("|"))
    for phrase in (name, *synonyms):
        if not phrase:
            raise VocabularyError(f"an empty word in {item!r}: synonyms are written sofa|couch")
        if len(phrase) > LONGEST_PHRASE:
            raise VocabularyError(
                f"a word of {len(phrase)} characters, beginning {phrase[:40]!r}: at most {LONGEST_PHRASE} are "
                "allowed; separate words by commas"
            )
    return WordClass(name, tuple(synonyms))


def _refuse_duplicates(phrases: Iterable[str]) -> None:
    seen: set[str] = set()
    for phrase in phrases:
        if phrase.casefold() in seen:
            raise VocabularyError(f"the word {phrase!r} is given twice: each may name one class only")
        seen.add(phrase.casefold())


class PhraseEncoder(Protocol):
    """Turns phrases into unit rows of text embeddings (M,C)."""

    def encode(self, phrases: Sequence[str]) -> Embeddings:
        """Encode M phrases."""


@dataclass(frozen=True)
class Vocabulary:
    """Classes, background words and one embedding a phrase; immutable, so that swapping it is one assignment.

    Attributes:
        classes: in the order of their mask indices.
        background: phrases whose pixels count as background.
        threshold: soft mask below which a pixel is background; None for no threshold.
        embeddings: unit rows (M,C): all background phrases, then each class's phrases in order.
    """

    classes: tuple[WordClass, ...]
    background: tuple[str, ...]
    threshold: float | None
    embeddings: Embeddings

    @classmethod
    def build(
        cls,
        classes: tuple[WordClass, ...],
        encoder: PhraseEncoder,
        *,
        background: tuple[str, ...] = (),
        threshold: float | None = None,
    ) -> "Vocabulary":
        """Encode classes and background words.

        Raises:
            VocabularyError: a word is both a class and background, the threshold is not in [0, 1], or the encoder
                does not know a word.
        """
        phrases = [phrase for word in classes for phrase in word.phrases]
        _refuse_duplicates([*background, *phrases])
        if threshold is not None and not 0 <= threshold <= 1:
            raise VocabularyError(f"background threshold {threshold} given, a soft mask lies between 0 and 1")
        return cls(classes, background, threshold, encoder.encode([*background, *phrases]))

    @property
    def has_background(self) -> bool:
        """Whether index 0 is background."""
        return bool(self.background) or self.threshold is not None

    @property
    def names(self) -> tuple[str, ...]:
        """Name of every index of the mask."""
        names = tuple(word.name for word in self.classes)
        return (BACKGROUND, *names) if self.has_background else names

    @property
    def rows(self) -> dict[str, npt.NDArray[np.float32]]:
        """The embedding (C,) of each phrase."""
        phrases = [*self.background, *(phrase for word in self.classes for phrase in word.phrases)]
        return dict(zip(phrases, self.embeddings, strict=True))

    def merge(self, masks: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Merge phrases into classes by their maximum: (M,h,w) -> (K,h,w).

        Background words, if any, become index 0 together with the threshold, which is then no longer needed.
        """
        sizes = [len(word.phrases) for word in self.classes]
        if self.background:
            sizes.insert(0, len(self.background))
        starts = np.cumsum([0, *sizes[:-1]])
        merged: npt.NDArray[np.float32] = np.maximum.reduceat(masks, starts, axis=0)
        if self.background and self.threshold is not None:
            np.maximum(merged[0], self.threshold, out=merged[0])
        return merged

    @property
    def constant(self) -> float | None:
        """Constant mask that stands for the background where no background word does."""
        return None if self.background else self.threshold

    def to_bytes(self) -> bytes:
        """Serialise as safetensors: the embeddings, and everything else as JSON in the header."""
        header = {
            "classes": [word.phrases for word in self.classes],
            "background": self.background,
            "threshold": self.threshold,
        }
        return save({"embeddings": self.embeddings}, metadata={"vocabulary": json.dumps(header)})

    @classmethod
    def from_bytes(cls, data: bytes, *, channels: int) -> "Vocabulary":
        """Read what `to_bytes` wrote and check that the embeddings are unit rows (M, channels).

        Raises:
            BundleCorruptError: the data is something else.
        """
        try:
            embeddings = load(data)["embeddings"]
            length = int.from_bytes(data[:8], "little")
            header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["vocabulary"])
            classes = tuple(WordClass(name, tuple(synonyms)) for name, *synonyms in header["classes"])
            vocabulary = cls(classes, tuple(header["background"]), header["threshold"], embeddings)
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            raise BundleCorruptError(f"not a vocabulary ({error}): export the bundle again") from None
        rows = len(vocabulary.background) + sum(len(word.phrases) for word in classes)
        if embeddings.dtype != np.float32 or embeddings.shape != (rows, channels):
            raise BundleCorruptError(
                f"the vocabulary's embeddings are {embeddings.dtype} {embeddings.shape}, expected float32 "
                f"{(rows, channels)}: it was made for another model"
            )
        if not np.allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-3):
            raise BundleCorruptError("the vocabulary's embeddings are not unit rows: export the bundle again")
        return vocabulary
