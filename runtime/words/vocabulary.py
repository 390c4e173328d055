"""Words: from what a user types to the rows of text embeddings that the segmenter graph takes."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from runtime.bundle import Bundle
from runtime.errors import BundleCorruptError, VocabularyError
from runtime.words.word_class import WordClass, parse_class, refuse_unprintable
from runtime.words.word_list import cells, list_path, read_list

Embeddings = npt.NDArray[np.float32]

LARGEST_VOCABULARY = 65_534
"""Classes. With the background they must fit the largest label type, uint16."""

BACKGROUND = "background"
"""Name of index 0; a class called so, in any case and with underscores around it, is that index and no further one."""

SAME_MEANING = 0.9
"""Cosine of two words from which on they mean the same to the model."""

Words = str | Path | Iterable[str | WordClass]
Background = str | Path | Iterable[str] | Literal["default"] | None

DEFAULT: Literal["default"] = "default"


def parse_classes(classes: Words) -> tuple[WordClass, ...]:
    """Read classes as typed: "cat, sofa|couch, floor:0.6", or a sequence with one class an item.

    A number after a colon is the class's own threshold, which its soft mask must exceed. A text that ends in `.txt`,
    `.names` or `.csv`, or begins like a path (/, ./, ../, ~/), is the name of a word list, whose text is read in its
    place. In both, commas and lines separate classes, and `#` begins a comment.

    Raises:
        VocabularyError: no word, a word twice, or see `parse_class` and `read_list`.
    """
    parsed = _parsed(classes)
    if not parsed:
        raise VocabularyError('no words to segment: name at least one, like "cat, sofa|couch, floor"')
    if len(parsed) > LARGEST_VOCABULARY:
        raise VocabularyError(f"{len(parsed)} classes given, at most {LARGEST_VOCABULARY} can be told apart")
    _refuse_duplicates(phrase for word in parsed for phrase in word.phrases)
    return parsed


def parse_background(background: Background) -> tuple[str, ...] | Literal["default"] | None:
    """Read what counts as background: "default", "none" or None, or a list of phrases, which may be empty.

    Raises:
        VocabularyError: as for `parse_classes`, or a phrase has a threshold.
    """
    if background is None:
        return None
    if isinstance(background, str) and background.strip().casefold() in (DEFAULT, "none"):
        return DEFAULT if background.strip().casefold() == DEFAULT else None
    return parse_phrases(background)


def parse_phrases(phrases: Words) -> tuple[str, ...]:
    """Read a list of phrases, as for a background: "wall, floor" -> ("wall", "floor"); may be empty.

    Raises:
        VocabularyError: as for `parse_classes`, or a phrase has a threshold.
    """
    parsed = _parsed(phrases)
    for word in parsed:
        if word.threshold is not None:
            raise VocabularyError(
                f"the background word {str(word)!r} has a threshold: only classes may have one", word=str(word)
            )
        if word.name.casefold() in (DEFAULT, "none"):
            raise VocabularyError(
                f"the background word {word.name!r} stands alone: give it as text, without others", word=word.name
            )
    return tuple(phrase for word in parsed for phrase in word.phrases)


def _parsed(words: Words) -> tuple[WordClass, ...]:
    if isinstance(words, str | Path):
        path = list_path(words)
        return _parsed_text(str(words)) if path is None else _parsed_text(read_list(path), str(path))
    if isinstance(words, set | frozenset):
        raise VocabularyError("the words are in a set, which has no order, so that indices would vary: give a list")
    return tuple(word if isinstance(word, WordClass) else parse_class(word) for word in words)


def _parsed_text(text: str, path: str | None = None) -> tuple[WordClass, ...]:
    parsed: list[WordClass] = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            parsed.extend(map(parse_class, cells(line)))
        except VocabularyError as error:
            if path is None:
                raise
            raise VocabularyError(f"{path!r}, line {number}: {error}") from None
    return tuple(parsed)


def split_background(classes: tuple[WordClass, ...]) -> tuple[tuple[WordClass, ...], WordClass | None]:
    """Take the class called `background`, as in PASCAL VOC's list, out of the others.

    Raises:
        VocabularyError: it is there twice, or as another class's synonym, or alone.
    """
    named = [word for word in classes if _means_background(word.name)]
    others = tuple(word for word in classes if not _means_background(word.name))
    for word in classes:
        if any(map(_means_background, word.synonyms)):
            raise VocabularyError(
                f"{str(word)!r} has the background as a synonym: background words are written "
                "background|wall, or given as --background"
            )
    if len(named) > 1:
        raise VocabularyError(f"{named[0].name!r} and {named[1].name!r} are one class, the background: leave one out")
    if named and not others:
        raise VocabularyError(f"no words to segment but {named[0].name!r}: name what stands before it, too")
    return others, named[0] if named else None


def _means_background(name: str) -> bool:
    return name.strip("_ ").casefold() == BACKGROUND


def _refuse_duplicates(phrases: Iterable[str]) -> None:
    seen: set[str] = set()
    for phrase in phrases:
        if phrase.casefold() in seen:
            raise VocabularyError(f"the word {phrase!r} is given twice: each may name one class only", word=phrase)
        seen.add(phrase.casefold())


class PhraseEncoder(Protocol):
    """Turns phrases into unit rows of text embeddings (M,C)."""

    def encode(self, phrases: Sequence[str]) -> Embeddings:
        """Encode M phrases."""


class KnownPhrases:
    """Unit rows that are known already, and an encoder for all other phrases."""

    def __init__(self, rows: Mapping[str, npt.NDArray[np.float32]], encoder: PhraseEncoder) -> None:
        self._rows, self._encoder = dict(rows), encoder

    def encode(self, phrases: Sequence[str]) -> Embeddings:
        """Encode M phrases as unit rows (M,C) float32."""
        new = [phrase for phrase in dict.fromkeys(phrases) if phrase not in self._rows]
        if new or not phrases:
            encoded = self._encoder.encode(new)
            if not phrases:
                return encoded
            self._rows.update(zip(new, encoded, strict=True))
        return np.array([self._rows[phrase] for phrase in phrases], np.float32)


def apart(words: tuple[str, ...], classes: tuple[WordClass, ...], encoder: PhraseEncoder) -> tuple[str, ...]:
    """Keep those background words that mean something else than every class: not "road" against "asphalt"."""
    if not words:
        return ()
    phrases = [phrase for word in classes for phrase in word.phrases]
    cosines = encoder.encode(words) @ encoder.encode(phrases).T
    return tuple(word for word, cosine in zip(words, cosines.max(axis=1), strict=True) if cosine < SAME_MEANING)


@dataclass(frozen=True)
class Vocabulary:
    """Classes, background words and one embedding a phrase; immutable, so that swapping it is one assignment.

    Attributes:
        classes: in the order of their mask indices.
        background: phrases whose pixels count as background.
        threshold: soft mask that pixels of classes without their own threshold have to exceed, otherwise they are
            background; None for none.
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
        for phrase in (*background, *phrases):
            refuse_unprintable(phrase)
        if any(_means_background(word.name) for word in classes):
            raise VocabularyError(f"a class is called {BACKGROUND!r}, as index 0 is: `split_background` takes it out")
        if threshold is not None and not 0 <= threshold <= 1:
            raise VocabularyError(f"background threshold {threshold} given, a soft mask lies between 0 and 1")
        return cls(classes, background, threshold, encoder.encode([*background, *phrases]))

    @property
    def has_background(self) -> bool:
        """Whether index 0 is background."""
        return bool(self.background) or self.threshold is not None or self.thresholds is not None

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

    @cached_property
    def thresholds(self) -> npt.NDArray[np.float32] | None:
        """What each mask that `merge` returns has to exceed at a pixel to take part there, float32.

        -inf for the background's own mask. None unless a class has its own threshold: `merge` and `constant` do
        then.
        """
        if all(word.threshold is None for word in self.classes):
            return None
        general = self.threshold or 0.0
        own = [general if word.threshold is None else word.threshold for word in self.classes]
        return np.array([-np.inf, *own] if self.background else own, np.float32)

    def merge(self, masks: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Merge phrases into classes by their maximum: (M,h,w) -> (K,h,w).

        Background words, if any, become index 0 together with the threshold, which is then no longer needed; where
        a class has its own threshold, `thresholds` holds them all.
        """
        sizes = [len(word.phrases) for word in self.classes]
        if self.background:
            sizes.insert(0, len(self.background))
        starts = np.cumsum([0, *sizes[:-1]])
        merged: npt.NDArray[np.float32] = np.maximum.reduceat(masks, starts, axis=0)
        if self.background and self.threshold is not None and self.thresholds is None:
            np.maximum(merged[0], self.threshold, out=merged[0])
        return merged

    @property
    def constant(self) -> float | None:
        """Constant mask that stands for the background where no background word does."""
        if self.background:
            return None
        return self.threshold if self.thresholds is None else 0.0

    def to_bytes(self, **about: Any) -> bytes:
        """Serialise as safetensors: the embeddings, and everything else as JSON in the header.

        Args:
            about: further entries of the header, of plain types.
        """
        header = {
            **about,
            "classes": [word.phrases for word in self.classes],
            "thresholds": [word.threshold for word in self.classes],
            "background": self.background,
            "threshold": self.threshold,
        }
        return save({"embeddings": self.embeddings}, metadata={"vocabulary": json.dumps(header)})

    @classmethod
    def shipped(cls, bundle: Bundle) -> "Vocabulary":
        """Read the words that a bundle comes with.

        Raises:
            BundleCorruptError: they cannot be understood.
        """
        return cls.from_bytes(bundle.read(bundle.manifest.vocabulary), channels=bundle.manifest.output.channels)

    @classmethod
    def from_bytes(cls, data: bytes, *, channels: int, advice: str = "export the bundle again") -> "Vocabulary":
        """Read what `to_bytes` wrote and check that the embeddings are unit rows (M, channels).

        Args:
            data: of a file.
            channels: of the model's embeddings.
            advice: what to do about a file that is something else.

        Raises:
            BundleCorruptError: the data is something else.
        """
        try:
            embeddings, header = load(data)["embeddings"], vocabulary_header(data)
            thresholds = header.get("thresholds", [None] * len(header["classes"]))
            classes = tuple(
                WordClass(name, tuple(synonyms), threshold)
                for (name, *synonyms), threshold in zip(header["classes"], thresholds, strict=True)
            )
            vocabulary = cls(classes, tuple(header["background"]), header["threshold"], embeddings)
            vocabulary._check()
        except (SafetensorError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise BundleCorruptError(f"not a vocabulary ({error}): {advice}") from None
        rows = len(vocabulary.background) + sum(len(word.phrases) for word in classes)
        if embeddings.dtype != np.float32 or embeddings.shape != (rows, channels):
            raise BundleCorruptError(
                f"the vocabulary's embeddings are {embeddings.dtype} {embeddings.shape}, expected float32 "
                f"{(rows, channels)}: it was made for another model; {advice}"
            )
        if not np.allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-3):
            raise BundleCorruptError(f"the vocabulary's embeddings are not unit rows: {advice}")
        return vocabulary

    def _check(self) -> None:  # of what a file says; ValueError
        phrases = [*self.background, *(phrase for word in self.classes for phrase in word.phrases)]
        if not self.classes or not all(isinstance(phrase, str) for phrase in phrases):
            raise ValueError("its words are not text, or there are none")
        _refuse_duplicates(phrases)
        if any(_means_background(word.name) for word in self.classes):
            raise ValueError(f"a class is called {BACKGROUND!r}, which is the name of index 0")
        for threshold in (self.threshold, *(word.threshold for word in self.classes)):
            if threshold is not None and not 0 <= threshold <= 1:
                raise ValueError(f"threshold {threshold} is not between 0 and 1")


def vocabulary_header(data: bytes) -> dict[str, Any]:
    """Read the JSON that `Vocabulary.to_bytes` put into the header, without looking at the embeddings.

    Raises:
        KeyError, ValueError, TypeError: the data is something else.
    """
    length = int.from_bytes(data[:8], "little")
    header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["vocabulary"])
    if not isinstance(header, dict):
        raise TypeError(f"the header is of type {type(header).__name__}")
    return header
