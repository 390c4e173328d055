"""One class as typed: sofa|couch:0.6. Whatever looks like a slip is refused here, for no word is ever that."""

import re
import unicodedata
from dataclasses import dataclass

import numpy as np

from runtime.errors import VocabularyError

LONGEST_PHRASE = 200
"""Characters. Longer than any noun phrase; far shorter than a file pasted by mistake."""

INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff]")
"""Soft hyphen, spaces of no width, and the byte order mark of a file that was appended to another."""

COLON = re.compile(r"(.*)[:\uff1a](.*)", re.DOTALL)
NUMBER_LIKE = re.compile(r"[-+]?\s*[.,]?[\d½¼¾][\d½¼¾\s.,%/eE+\-]*")
INDEX = re.compile(r"\d+\s*:\s+\D")
PATH_LIKE = re.compile(
    r"(/|~/|\.\.?/).*|.*\.(txt|names|csv|tsv|json|jsonl|ya?ml|xlsx?|pbtxt|safetensors)", re.DOTALL | re.IGNORECASE
)


@dataclass(frozen=True)
class WordClass:
    """One class to segment: a name and phrases that mean the same. Its mask is the maximum over all of them.

    Attributes:
        name: what the class is called.
        synonyms: further phrases.
        threshold: soft mask in [0, 1] that this class has to exceed at a pixel to take part there; what no class is
            left for is background. None where the threshold of the whole vocabulary holds.
    """

    name: str
    synonyms: tuple[str, ...] = ()
    threshold: float | None = None

    @property
    def phrases(self) -> tuple[str, ...]:
        """The name, then the synonyms."""
        return (self.name, *self.synonyms)

    def __str__(self) -> str:
        threshold = "" if self.threshold is None else ":" + np.format_float_positional(self.threshold, trim="-")
        return "|".join(self.phrases) + threshold


def parse_class(item: str) -> WordClass:
    """Read one class as typed: "sofa|couch:0.6" or "sofa|couch: 60%". White space and a comma at the end are dropped.

    Raises:
        VocabularyError: an empty or too long word, a threshold that is not in [0, 1], several words in one, something
            that looks like a number, an index or a file, or bytes that were no UTF-8.
    """
    if not isinstance(item, str):
        raise VocabularyError(f"a class is text, not {type(item).__name__}: {item!r}")
    text = unicodedata.normalize("NFC", INVISIBLE.sub("", item)).strip().rstrip(",").rstrip()
    words, threshold = _apart_from_threshold(text, item)
    _refuse_several(words, item)
    name, *synonyms = (_phrase(phrase, item) for phrase in words.split("|"))
    return WordClass(name, tuple(synonyms), threshold)


def _apart_from_threshold(text: str, item: str) -> tuple[str, float | None]:
    typed = COLON.fullmatch(text)
    if typed is None or not _means_a_number(typed[2]):
        return text, None
    words, number = typed[1].strip(), typed[2].strip()
    share = number.removesuffix("%")
    try:
        threshold = float(share)
    except ValueError:
        example = share.replace(",", ".") if re.fullmatch(r"\d*,\d+", share) else "0.6"
        raise VocabularyError(f"threshold {number!r} in {item!r} is no number: write {words}:{example}") from None
    if share != number:
        threshold /= 100
    if not 0 <= threshold <= 1:
        percent = share == number and 1 < threshold <= 100
        advice = f"; write {words}:{threshold / 100:g} or {words}:{threshold:g}%" if percent else ""
        raise VocabularyError(f"threshold {number} in {item!r}: a soft mask lies between 0 and 1{advice}")
    return words, threshold + 0.0  # not -0


def _means_a_number(text: str) -> bool:
    """Tell whether what stands behind a colon was meant as a number, if only nearly; nothing there counts, too."""
    text = text.strip()
    if not text or NUMBER_LIKE.fullmatch(text):
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True


def _refuse_several(words: str, item: str) -> None:
    for sign, called in ((",", "a comma"), (";", "a semicolon"), ("\t", "a tab"), ("\n", "a line break")):
        if sign in words.strip():
            raise VocabularyError(
                f"{called} within one class, {item!r}: synonyms are written sofa|couch; classes are separated by "
                "commas in a text, and are items of their own in a list"
            )


def _phrase(text: str, item: str) -> str:
    phrase = " ".join(text.split())
    if not phrase:
        raise VocabularyError(f"an empty word in {item!r}: synonyms are written sofa|couch, a threshold car:0.6")
    if len(phrase) > LONGEST_PHRASE:
        raise VocabularyError(
            f"a word of {len(phrase)} characters, beginning {phrase[:40]!r}: at most {LONGEST_PHRASE} are "
            "allowed; separate words by commas"
        )
    refuse_unprintable(phrase)
    if (behind := COLON.fullmatch(phrase)) and _means_a_number(behind[2]):
        raise VocabularyError(f"{phrase!r} in {item!r}: one number stands at the end of a class, as sofa|couch:0.6")
    if INDEX.match(phrase):
        raise VocabularyError(f"{phrase!r} begins with an index: give the names only, the indices follow their order")
    if PATH_LIKE.fullmatch(phrase):
        raise VocabularyError(
            f"{phrase!r} looks like a file, not like a word: a word list (.txt, .names, .csv) or a word file "
            "(.safetensors, see `python -m runtime words`) is given alone"
        )
    return phrase


def refuse_unprintable(phrase: str) -> None:
    """Refuse what cannot be written down again.

    Raises:
        VocabularyError: the phrase came as bytes that were no UTF-8, or has control characters.
    """
    kinds = set(map(unicodedata.category, phrase))
    if "Cs" in kinds:
        raise VocabularyError(
            f"the word {phrase!r} is no UTF-8, but in an older encoding such as Latin-1: set the terminal to UTF-8, "
            "or put the words into a file saved as UTF-8"
        )
    if "Cc" in kinds:
        raise VocabularyError(f"the word {phrase!r} has control characters: type it again")
