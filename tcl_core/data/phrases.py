"""Captions as noun phrases: each is a text of its own, and an image owns several.

A caption that names four things says that each is somewhere, and not where the others are.
"""

import re

PREPOSITIONS = (
    "in front of", "on top of", "close-up of", "covered with", "seen from above", "on", "in", "with", "under", "over",
    "at", "by", "between", "beside", "behind", "near", "above", "below", "against", "along", "across", "from",
)  # fmt: skip
# "of" binds a noun to its own ("a glass of water") and "and" in "black and white" an adjective: only what separates
# things is cut.
BOUNDARY = re.compile(
    r"\s*[,;.:!?()]\s*|\s+(?:and|or)\s+|(?:^|\s+)(?:" + "|".join(PREPOSITIONS) + r")(?:\s+|$)", re.IGNORECASE
)
ARTICLE = re.compile(r"^(?:an?|the|some|two|three|four|rows of|a pair of|a bunch of|many|several)\s+", re.IGNORECASE)

QUOTES = str.maketrans({"\u2019": "'", "\u201c": "", "\u201d": ""})  # typographic ones are in few vocabularies


def noun_phrases(caption: str) -> list[str]:
    """Cut a caption into phrases, in lower case, without articles, each once, in order.

    A caption with nothing between its separators is its own only phrase.
    """
    parts = (part.strip() for part in BOUNDARY.split(caption.translate(QUOTES)))
    phrases = [ARTICLE.sub("", part).strip().lower() for part in parts]
    return list(dict.fromkeys(phrase for phrase in phrases if phrase)) or [caption.strip().lower()]


__all__ = ["noun_phrases"]
