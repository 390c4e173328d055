"""A vocabulary in a file of its own: words prepared once, for every device that runs the same model.

The file is safetensors, so reading it executes nothing. Its header holds the words, their thresholds and templates,
the fingerprint of the model whose text embeddings these are, and a hash of everything.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from runtime.atomic_file import write_atomically
from runtime.bundle import Bundle, Manifest
from runtime.errors import BundleCorruptError, VocabularyError, WordFileError
from runtime.words.vocabulary import (
    Background,
    Embeddings,
    KnownPhrases,
    PhraseEncoder,
    Vocabulary,
    Words,
    apart,
    parse_background,
    parse_classes,
    split_background,
    vocabulary_header,
)
from runtime.words.word_class import WordClass
from runtime.words.word_list import SUFFIXES

SUFFIX = ".safetensors"
REBUILD = "build it again with `python -m runtime words BUNDLE --classes ... --output FILE`"

SAME_ROW = 0.999
"""Cosine from which on two embeddings of one phrase count as made in the same way."""


@dataclass(frozen=True)
class WordFile:
    """What a word file holds: the vocabulary, and the templates that its phrases were put into."""

    vocabulary: Vocabulary
    templates: tuple[str, ...]


def write_word_file(path: Path, words: WordFile, manifest: Manifest) -> None:
    """Write a vocabulary whose embeddings come from the text encoder of the model that `manifest` describes.

    Raises:
        VocabularyError: the name does not end in .safetensors.
        WriteError: the file cannot be written.
    """
    if path.suffix != SUFFIX:
        raise VocabularyError(f"{path} given, expected a name ending in {SUFFIX}")
    about = {"model": manifest.source.model, "fingerprint": manifest.fingerprint, "templates": words.templates}
    unsigned = vocabulary_header(words.vocabulary.to_bytes(**about))
    data = words.vocabulary.to_bytes(**about, sha256=_digest(unsigned, words.vocabulary.embeddings))
    write_atomically(path, data)


def read_word_file(path: Path, manifest: Manifest) -> WordFile:
    """Read a word file for the model that `manifest` describes.

    Raises:
        VocabularyError: there is no such file, or it was made with another model.
        WordFileError: it cannot be read, or is damaged.
    """
    if path.suffix.lower() in SUFFIXES:
        raise VocabularyError(f"{path} is a list of words, not a word file: give it as --classes {path}")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise VocabularyError(f"there is no word file {path}: {REBUILD}") from None
    except OSError as error:
        raise WordFileError(f"the word file {path} cannot be read: {error.strerror}") from None
    try:
        header = vocabulary_header(data)
        recorded = header.pop("sha256")
        fingerprint, templates = header["fingerprint"], tuple(header["templates"])
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise WordFileError(f"{path} is no word file ({_first_bytes(data)}; {error!r}): {REBUILD}") from None
    if fingerprint != manifest.fingerprint:
        raise VocabularyError(
            f"{path} was made with the model {header.get('model')!r} ({str(fingerprint)[:12]}…), this bundle holds "
            f"{manifest.source.model!r} ({manifest.fingerprint[:12]}…): {REBUILD}"
        )
    try:
        vocabulary = Vocabulary.from_bytes(data, channels=manifest.output.channels, advice=REBUILD)
    except BundleCorruptError as error:
        raise WordFileError(f"{path}: {error}") from None
    if recorded != _digest(header, vocabulary.embeddings):
        raise WordFileError(f"{path} is not the file that was written, its hash differs: copy it again, or {REBUILD}")
    return WordFile(vocabulary, templates)


def _digest(header: dict[str, Any], embeddings: Embeddings) -> str:
    return hashlib.sha256(json.dumps(header, sort_keys=True).encode() + embeddings.tobytes()).hexdigest()


def _first_bytes(data: bytes) -> str:
    return f"{len(data)} bytes, beginning {data[:24]!r}" if data else "it is empty"


def vocabulary_for(
    bundle: Bundle,
    classes: Words,
    encoder: PhraseEncoder,
    *,
    background: Background = "default",
    threshold: float | None = None,
) -> Vocabulary:
    """Make the vocabulary that a user asks for.

    Args:
        bundle: whose model segments.
        classes: as `parse_classes` takes them, or the path of a word file.
        encoder: of the bundle; not asked for phrases that a word file has.
        background: "default" for the word file's or the bundle's words, the latter less those that mean the same as
            a class; other words; None or "none" for no background. A class called `background` is index 0: its
            synonyms are background words, its threshold is the one of the vocabulary.
        threshold: of the whole vocabulary; None for the word file's or the bundle's, unless `background` is None.

    Raises:
        VocabularyError: the words, the threshold or the word file are refused.
    """
    words, typed = parse_background(background), None
    if isinstance(classes, str | Path) and str(classes).strip().lower().endswith(SUFFIX):
        stored = read_word_file(Path(str(classes).strip()).expanduser(), bundle.manifest).vocabulary
        parsed, encoder = stored.classes, KnownPhrases(stored.rows, encoder)
        default_words, default_threshold = stored.background, stored.threshold
    else:
        parsed, typed = split_background(parse_classes(classes))
        if typed is not None:
            words, threshold = _with_class(typed, words, threshold)
        default = bundle.manifest.background
        default_words = apart(default.words, parsed, encoder) if words == "default" else ()
        default_threshold = default.threshold
    if words is None:
        return Vocabulary.build(parsed, encoder, threshold=threshold)
    vocabulary = Vocabulary.build(
        parsed,
        encoder,
        background=default_words if words == "default" else words,
        threshold=default_threshold if threshold is None else threshold,
    )
    if typed is not None and not vocabulary.has_background:
        raise VocabularyError(
            f"nothing says what {typed.name!r} looks like, neither words nor a threshold: write "
            f"{typed.name}|wall|floor or {typed.name}:0.3"
        )
    return vocabulary


def _with_class(
    typed: WordClass, words: tuple[str, ...] | Literal["default"] | None, threshold: float | None
) -> tuple[tuple[str, ...] | Literal["default"], float | None]:
    """Take the synonyms and the threshold of the class called background as those of the background."""
    if words is None:
        raise VocabularyError(
            f"{typed.name!r} is among the classes, and there is to be no background: leave {typed.name!r} out, or give "
            "a background, as 'default' for the model's own"
        )
    if typed.synonyms:
        if words != "default":
            raise VocabularyError(f"background words are given twice, by {str(typed)!r} and beside it: leave one out")
        words = typed.synonyms
    if typed.threshold is None or threshold in (None, typed.threshold):
        return words, threshold if typed.threshold is None else typed.threshold
    raise VocabularyError(f"the threshold is given twice, by {str(typed)!r} and as {threshold:g}: leave one out")


def merge(files: Sequence[WordFile], *, threshold: float | None = None) -> WordFile:
    """Merge word files of one model, in order.

    Classes of one name unite their synonyms, and the last threshold given counts. Background words unite, too, but
    for those that mean the same as a class of any file.

    Args:
        files: at least one.
        threshold: of the whole vocabulary, to settle a disagreement.

    Raises:
        VocabularyError: two files disagree: over the embedding of a phrase, over the threshold of the vocabulary, or
            over the class that a phrase belongs to.
    """
    thresholds = {file.vocabulary.threshold for file in files}
    if threshold is None and len(thresholds) > 1:
        raise VocabularyError(f"the vocabularies have the thresholds {sorted(thresholds, key=str)}: give --threshold")
    rows = _united_rows(files)
    classes = _united_classes(word for file in files for word in file.vocabulary.classes)
    known = KnownPhrases(rows, _NoEncoder())
    background = tuple(dict.fromkeys(phrase for file in files for phrase in file.vocabulary.background))
    if len(files) > 1:  # what is background in one file may be a class in another
        background = apart(background, classes, known)
    general = threshold if threshold is not None else thresholds.pop()
    vocabulary = Vocabulary.build(classes, known, background=background, threshold=general)
    return WordFile(vocabulary, tuple(dict.fromkeys(template for file in files for template in file.templates)))


class _NoEncoder:
    def encode(self, phrases: Sequence[str]) -> Embeddings:
        raise VocabularyError(f"the words {', '.join(map(repr, phrases))} are in none of the files")


def _united_rows(files: Iterable[WordFile]) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for file in files:
        for phrase, row in file.vocabulary.rows.items():
            cosine = float(rows.setdefault(phrase, row) @ row)
            if cosine < SAME_ROW:
                raise VocabularyError(
                    f"the word {phrase!r} has different embeddings in two of the vocabularies (cosine {cosine:.3f}): "
                    "they were made with different templates; build one of them again"
                )
    return rows


def _united_classes(classes: Iterable[WordClass]) -> tuple[WordClass, ...]:
    united: dict[str, WordClass] = {}
    for word in classes:
        known = united.setdefault(word.name.casefold(), word)
        synonyms: dict[str, str] = {}
        for synonym in (*known.synonyms, *word.synonyms):
            synonyms.setdefault(synonym.casefold(), synonym)
        united[word.name.casefold()] = replace(
            known,
            synonyms=tuple(synonyms.values()),
            threshold=known.threshold if word.threshold is None else word.threshold,
        )
    return tuple(united.values())


@dataclass(frozen=True)
class NearWords:
    """Two phrases of different classes that the model can hardly tell apart."""

    first: str
    second: str
    cosine: float


def near_words(vocabulary: Vocabulary, cosine: float) -> list[NearWords]:
    """List pairs of phrases of different classes, or of a class and the background, at least that alike.

    Args:
        vocabulary: whose phrases are compared, each with each.
        cosine: of two embeddings, in [-1, 1].

    Returns:
        The pairs, the most alike first.
    """
    owners = [-1] * len(vocabulary.background)
    owners += [index for index, word in enumerate(vocabulary.classes) for _ in word.phrases]
    owner, phrases = np.array(owners), list(vocabulary.rows)
    pairs = []
    for index, row in enumerate(vocabulary.embeddings):  # one row at a time: a matrix of 65,000 words is 17 GB
        cosines = vocabulary.embeddings[index + 1 :] @ row
        alike = (cosines >= cosine) & (owner[index + 1 :] != owner[index])
        for other in np.flatnonzero(alike):
            pairs.append(NearWords(phrases[index], phrases[index + 1 + other], float(cosines[other])))
    return sorted(pairs, key=lambda pair: -pair.cosine)
