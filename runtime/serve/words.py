"""Words as other programs read and change them: JSON."""

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.colours import colours_of
from runtime.errors import VocabularyError
from runtime.segmenter import KEPT
from runtime.sinks.live_words import LiveWords
from runtime.words.vocabulary import SAME_MEANING, Background, Vocabulary
from runtime.words.word_class import WordClass, parse_class
from runtime.words.word_file import near_words
from runtime.words.word_list import cells

MOST_PHRASES, MOST_PAIRS = 2000, 50
"""Phrases that a change may lead to, as each costs time in every frame, and that are compared each with each; and pairs
of them that are told."""

SETTINGS = ("classes", "background", "threshold")
TOLD = ("names", "colours", "confusable")
"""What is told besides, and may be sent back unread."""


class WordSettings:
    """The words of a stream, read and changed from any thread.

    Args:
        words: that the stream has.
    """

    def __init__(self, words: LiveWords) -> None:
        self._words = words
        self._lock = Lock()
        self._told: tuple[Vocabulary, dict[str, Any]] | None = None

    def read(self) -> dict[str, Any]:
        """Tell the words of the next frame.

        Returns:
            classes: as typed, "dog|puppy:0.6"; background: words, or None where there is none; threshold: a number or
            None; names and colours (#rrggbb) of the mask's indices; confusable: pairs that the model hardly tells
            apart, with their cosine.
        """
        vocabulary = self._words.vocabulary
        told = self._told
        if told is None or told[0] is not vocabulary:
            self._told = told = vocabulary, _described(vocabulary)
        return told[1]

    def change(self, wanted: Any) -> dict[str, Any]:
        """Change what is named, and nothing else; on an error nothing changes.

        Args:
            wanted: any of classes, background and threshold, as `read` tells them. Classes and background words may
                also be a text, "cat, dog|puppy"; background "default" and threshold None are the bundle's own.

        Returns:
            What `read` tells from now on.

        Raises:
            VocabularyError: a word, or something else, is refused.
        """
        if not isinstance(wanted, Mapping):
            raise VocabularyError(f"{wanted!r:.80} given, expected an object with any of {', '.join(SETTINGS)}")
        if unknown := set(wanted) - {*SETTINGS, *TOLD}:
            raise VocabularyError(f"{sorted(unknown)[0]!r} cannot be set, only {', '.join(SETTINGS)}")
        threshold = _threshold(wanted["threshold"]) if "threshold" in wanted else KEPT
        background = _background(wanted["background"]) if "background" in wanted else KEPT
        typed = _parsed(wanted["classes"], "classes") if "classes" in wanted else None
        with self._lock:  # what is not named is what it is now
            classes = self._words.vocabulary.classes if typed is None else typed
            shut_out = self._words.vocabulary.background if background is KEPT else background
            _refuse_many(classes, shut_out if isinstance(shut_out, Sequence) and not isinstance(shut_out, str) else ())
            self._words.set_classes(classes, background=background, threshold=threshold)
            return self.read()


def hexadecimal(colours: npt.NDArray[np.uint8]) -> list[str]:
    """Write BGR colours (K,3) as a browser reads them: #rrggbb."""
    return [f"#{red:02x}{green:02x}{blue:02x}" for blue, green, red in colours.tolist()]


def _described(vocabulary: Vocabulary) -> dict[str, Any]:
    none = not vocabulary.background and vocabulary.threshold is None
    colours = colours_of([word.name for word in vocabulary.classes], background=vocabulary.has_background)
    few = len(vocabulary.embeddings) <= MOST_PHRASES
    pairs = near_words(vocabulary, SAME_MEANING)[:MOST_PAIRS] if few else []
    return {
        "classes": [str(word) for word in vocabulary.classes],
        "background": None if none else list(vocabulary.background),
        "threshold": vocabulary.threshold,
        "names": list(vocabulary.names),
        "colours": hexadecimal(colours),
        "confusable": [{"first": p.first, "second": p.second, "cosine": round(p.cosine, 3)} for p in pairs],
    }


def _parsed(typed: Any, called: str) -> list[WordClass]:
    """Read words without ever taking them for the name of a file: whoever sends them is not at this machine."""
    if isinstance(typed, str):
        typed = [cell for line in typed.splitlines() for cell in cells(line)]
    if not isinstance(typed, Sequence) or not all(isinstance(item, str) for item in typed):
        raise VocabularyError(f"{called} {typed!r:.80} given, expected a list of words, or a text with commas between")
    parsed = []
    for item in typed:
        try:
            parsed.append(parse_class(item))
        except VocabularyError as error:
            raise VocabularyError(str(error), word=item) from None
    return parsed


def _refuse_many(classes: Sequence[WordClass], background: Sequence[str]) -> None:
    phrases = sum(len(word.phrases) for word in classes) + len(background)
    if phrases > MOST_PHRASES:
        raise VocabularyError(
            f"{phrases} words given, synonyms and background words included: at most {MOST_PHRASES} are taken from a "
            "page; more are given to the command, by --classes words.txt"
        )


def _background(typed: Any) -> Background:
    if isinstance(typed, str) and typed.strip().casefold() in ("default", "none"):
        return typed
    return None if typed is None else [str(word) for word in _parsed(typed, "background")]


def _threshold(typed: Any) -> float | None:
    if typed is None:
        return None
    if isinstance(typed, bool) or not isinstance(typed, int | float) or not 0 <= typed <= 1:
        error = f"threshold {typed!r:.80} given, expected a number from 0 to 1, or null for the bundle's own"
        raise VocabularyError(error)
    return float(typed)
