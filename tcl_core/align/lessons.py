"""The phrases that the text tower of `tiny` learns from, and those that are kept for the report."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from tcl_core.data.wordnet import PLAIN_NAME, WordNet

PROMPTS = ("a {}", "the {}", "a photo of a {}", "a photo of the {}")


@dataclass(frozen=True)
class Lesson:
    """Phrases of one kind.

    Attributes:
        kind: for the report.
        phrases: what the student reads.
        meanings: what the teacher reads instead, phrase by phrase: of "red bananas" it is "banana".
        share: of every batch.
    """

    kind: str
    phrases: list[str]
    meanings: list[str]
    share: float


@dataclass(frozen=True)
class Curriculum:
    """What is taught and what is not.

    Attributes:
        lessons: taught; the first are the words of the lexicon.
        held_out: kind -> (phrases never taught, what each means in plain words).
    """

    lessons: list[Lesson]
    held_out: dict[str, tuple[list[str], list[str]]]


@dataclass(frozen=True)
class CurriculumConfig:
    """How many phrases of which kind."""

    num_pairs: int = 14000  # adjective and noun, the adjective is heard: "wooden boat"
    num_nouns: int | None = None  # None: all of WordNet's visible nouns
    num_held_out: int = 2000  # nouns and pairs never taught
    num_held_out_forms: int = 400  # plurals and coloured words never taught, each
    colours_per_word: int = 6
    other_nouns: bool = True  # names in WordNet of what cannot be seen: they teach what word pieces mean
    share_of_words: float = 0.1  # the words of the lexicon are the ones people type
    share_of_forms: float = 0.12
    share_of_others: float = 0.33


def noun_phrases(wordnet: WordNet, adjectives: list[str], config: CurriculumConfig, seed: int) -> list[str]:
    """Collect nouns for visible things and adjective-noun pairs, in random order."""
    chance = random.Random(seed)
    nouns = wordnet.visible_names()
    plain = _plain(nouns)
    pairs = {f"{chance.choice(adjectives)} {chance.choice(plain)}" for _ in range(config.num_pairs)}
    chance.shuffle(nouns)
    phrases = nouns[: config.num_nouns] + sorted(pairs)
    chance.shuffle(phrases)
    return phrases


def _plain(nouns: list[str]) -> list[str]:
    return [noun for noun in nouns if " " not in noun and len(noun) <= 10]


class _Writer:
    """Makes phrases that WordNet and the lexicon do not have."""

    def __init__(self, wordnet: WordNet, words: list[str], chance: random.Random) -> None:
        self.wordnet, self.words, self.chance = wordnet, words, chance
        self._known = {*words, *wordnet.senses}
        self._visible = wordnet.visible_names()

    def prompts(self) -> Iterator[tuple[str, str]]:
        return ((prompt.format(word), word) for prompt in PROMPTS for word in self.words)

    def plurals(self, names: list[str]) -> list[tuple[str, str]]:
        """Pluralise by rule; "people" is the lexicon's own word and not made here, nor are "glasses" from "glass"."""
        known = {*self._known, *self.wordnet.irregular}
        forms = ((self.wordnet.plural(name), name) for name in names if self.wordnet.singular(name) == name)
        return [(form, name) for form, name in forms if self.wordnet.singular(form) == name and form not in known]

    def irregular(self) -> list[tuple[str, str]]:
        """List the irregular plurals of all visible names."""
        visible = set(self._visible)
        pairs = self.wordnet.irregular.items()
        return [(form, name) for form, name in pairs if name in visible and form not in self.words]

    def coloured(self, colours: list[str], count: int) -> list[tuple[str, str]]:
        """Put colours before words: "red banana", never "red fox", which is a kind."""
        pairs = [(f"{c} {word}", word) for word in self.words for c in self.chance.sample(colours, count)]
        return [(form, word) for form, word in pairs if form not in self._known and word not in colours]

    def other_nouns(self) -> list[str]:
        names = {name for name in self.wordnet.senses if PLAIN_NAME.fullmatch(name) and len(name.split()) <= 3}
        return sorted(names.difference(self._visible))


def _synonyms(wordnet: WordNet, names: list[str]) -> list[tuple[str, str]]:
    """Pair names with another name of the same most common visible meaning, where there is one."""
    pairs = []
    for name in names:
        offset = wordnet.visible_sense(name)
        others = wordnet.synsets[offset].names if offset else ()
        pairs += [(name, other) for other in others if PLAIN_NAME.fullmatch(other) and other != name][:1]
    return pairs


def write_curriculum(
    wordnet: WordNet, words: list[str], adjectives: list[str], colours: list[str], config: CurriculumConfig, seed: int
) -> Curriculum:
    """Write what is taught, and set apart what is not.

    Args:
        wordnet: where nouns come from.
        words: of the lexicon.
        adjectives: for pairs.
        colours: say nothing about what a thing is.
        config: how many.
        seed: of every choice.
    """
    phrases = noun_phrases(wordnet, adjectives, config, seed)
    kept, phrases = phrases[: config.num_held_out], phrases[config.num_held_out :]
    chance = random.Random(seed + 1)
    writer = _Writer(wordnet, words, chance)
    known, forms = set(words), []
    held_out = _by_kind(kept, wordnet, adjectives)
    for kind, pairs in (
        ("plurals", writer.plurals(words)),
        ("irregular plurals", writer.irregular()),
        ("coloured words", writer.coloured(colours, config.colours_per_word)),
    ):
        chance.shuffle(pairs)
        # "women" and "mice" cannot be guessed: what people type is always taught.
        rare = [pair for pair in pairs if kind != "irregular plurals" or pair[1] not in known]
        unseen = rare[: min(config.num_held_out_forms, len(pairs) // 4)]
        held_out[kind] = _columns(unseen)
        forms += [pair for pair in pairs if pair not in set(unseen)]
    forms += writer.prompts()

    never = {phrase for column, _ in held_out.values() for phrase in column} | known
    forms = [pair for pair in forms if pair[0] not in never]
    never |= {form for form, _ in forms}
    others = writer.other_nouns() if config.other_nouns else []
    share_of_nouns = 1 - config.share_of_words - config.share_of_forms - config.share_of_others
    lessons = [
        Lesson("words", words, words, config.share_of_words),
        Lesson("forms", *_columns(forms), config.share_of_forms),
    ]
    for kind, plain, share in (("nouns", phrases, share_of_nouns), ("others", others, config.share_of_others)):
        new = [phrase for phrase in plain if phrase not in never]
        lessons.append(Lesson(kind, new, new, share))
    return Curriculum([lesson for lesson in lessons if lesson.phrases], held_out)


def _columns(pairs: list[tuple[str, str]]) -> tuple[list[str], list[str]]:
    return [form for form, _ in pairs], [name for _, name in pairs]


def _by_kind(kept: list[str], wordnet: WordNet, adjectives: list[str]) -> dict[str, tuple[list[str], list[str]]]:
    pairs = [phrase for phrase in kept if phrase.split()[0] in adjectives and phrase not in wordnet.senses]
    names = [phrase for phrase in kept if phrase not in set(pairs)]
    return {
        "all": (kept, kept),
        "nouns": _columns([(name, name) for name in names if " " not in name]),
        "names of several words": _columns([(name, name) for name in names if " " in name]),
        "adjective and noun": _columns([(pair, pair.partition(" ")[2]) for pair in pairs]),
        "synonyms": _columns(_synonyms(wordnet, names)),
    }
