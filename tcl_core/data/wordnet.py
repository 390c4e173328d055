"""Nouns of WordNet 3.0: the names of a synset and what it is a kind of."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

HYPERNYM_POINTERS = ("@", "@i")
# Lexicographer files of things that can be seen: animal, artifact, body, food, location, object, person,
# phenomenon, plant, substance (lexnames(5WN)).
VISIBLE_FILES = frozenset({"05", "06", "08", "13", "15", "17", "18", "19", "20", "27"})
# What a plural may end in and what the singular then ends in; a singular must be a name that WordNet has.
SINGULAR_ENDINGS = (("s", ""), ("ses", "s"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"), ("men", "man"),
                    ("ies", "y"))  # fmt: skip
HISSING = ("s", "x", "z", "ch", "sh")
PLAIN_NAME = re.compile(r"[a-z][a-z' -]*")


@dataclass(frozen=True)
class Synset:
    """One meaning of a noun.

    Attributes:
        offset: position in `data.noun`, eight digits; an ImageNet class "n02084071" is the noun at "02084071".
        names: lemmas, most common first, spaces for underscores, upper case kept.
        hypernyms: offsets of what this is a kind of.
        visible: a thing, a place or a substance, rather than an act, a feeling, a number.
    """

    offset: str
    names: tuple[str, ...]
    hypernyms: tuple[str, ...]
    visible: bool


def _parse(line: str) -> Synset:
    words = line.partition(" | ")[0].split()
    num_names = int(words[3], 16)
    names = tuple(name.replace("_", " ") for name in words[4 : 4 + 2 * num_names : 2])
    pointers = words[5 + 2 * num_names :]
    hypernyms = tuple(
        target for symbol, target in zip(pointers[0::4], pointers[1::4], strict=False) if symbol in HYPERNYM_POINTERS
    )
    return Synset(words[0], names, hypernyms, words[1] in VISIBLE_FILES)


class WordNet:
    """The noun part of a WordNet 3.0 directory (Debian: `wordnet-base`, /usr/share/wordnet).

    Raises:
        FileNotFoundError: there is no `data.noun` in the directory.
    """

    def __init__(self, directory: str | Path) -> None:
        path = Path(directory) / "data.noun"
        if not path.is_file():
            raise FileNotFoundError(
                f"no WordNet at {directory}: expected the file data.noun there. "
                "Install it (apt-get install wordnet-base) or name its directory with wordnet=DIRECTORY."
            )
        lines = path.read_text(encoding="utf-8").splitlines()
        # The licence at the head of the file is indented.
        synsets = (_parse(line) for line in lines if not line.startswith(" "))
        self.synsets = {synset.offset: synset for synset in synsets}
        self._index = Path(directory) / "index.noun"
        self._exceptions = Path(directory) / "noun.exc"

    def visible_names(self, most_words: int = 3) -> list[str]:
        """List names of things that can be seen, sorted: lower case, Latin letters, no names of persons or places."""
        names = {name for synset in self.synsets.values() if synset.visible for name in synset.names}
        return sorted(n for n in names if PLAIN_NAME.fullmatch(n) and len(n.split()) <= most_words)

    @cached_property
    def senses(self) -> dict[str, tuple[str, ...]]:
        """Offsets of a name's meanings, most common first; names in lower case, with spaces.

        Raises:
            FileNotFoundError: there is no `index.noun`.
        """
        senses: dict[str, tuple[str, ...]] = {}
        for line in self._index.read_text(encoding="utf-8").splitlines():
            if not line.startswith(" "):  # the licence is indented
                words = line.split()
                senses[words[0].replace("_", " ")] = tuple(words[-int(words[2]) :])
        return senses

    @cached_property
    def irregular(self) -> dict[str, str]:
        """Irregular plurals and their singulars: "mice" -> "mouse".

        Raises:
            FileNotFoundError: there is no `noun.exc`.
        """
        forms = (line.split() for line in self._exceptions.read_text(encoding="utf-8").splitlines())
        return {plural: singular for plural, singular, *_ in forms if plural != singular}

    @cached_property
    def _irregular_plurals(self) -> dict[str, str]:
        return {singular: plural for plural, singular in reversed(self.irregular.items())}

    def singular(self, name: str) -> str:
        """Put the last word of a name in the singular; a name that WordNet has as it stands ("glasses") stays."""
        before, space, last = name.rpartition(" ")
        if last in self.irregular:
            return before + space + self.irregular[last]
        if name in self.senses or last in self.senses:
            return name
        for ending, instead in SINGULAR_ENDINGS:
            stem = last.removesuffix(ending) + instead
            if last.endswith(ending) and stem in self.senses:
                return before + space + stem
        return name

    def plural(self, name: str) -> str:
        """Put the last word of a name in the plural; of several irregular plurals, the first."""
        before, space, last = name.rpartition(" ")
        # "buses" and "cactuses", where the list has "busses" and "cacti" only.
        if last in self._irregular_plurals and not last.endswith(("as", "us")):
            last = self._irregular_plurals[last]
        elif last.endswith("man") and (last.endswith("woman") or last[:-3] in self.senses):  # not "human"
            last = last[:-3] + "men"
        elif last.endswith(HISSING):
            last += "es"
        elif last.endswith("y") and last[-2:-1] not in tuple("aeiou"):
            last = last[:-1] + "ies"
        else:
            last += "s"
        return before + space + last

    def visible_sense(self, name: str) -> str | None:
        """Find the most common meaning of a name, a plain plural included, that can be seen: its offset."""
        for form in (name, name.removesuffix("s"), name.removesuffix("es")):
            for offset in self.senses.get(form, ()):
                if self.synsets[offset].visible:
                    return offset
        return None

    def ancestors(self, offset: str) -> Iterator[str]:
        """Walk up from a synset, nearest first: the synset itself, then everything it is a kind of."""
        frontier, seen = [offset], {offset}
        while frontier:
            yield from frontier
            above = (hypernym for item in frontier for hypernym in self.synsets[item].hypernyms)
            frontier = [item for item in dict.fromkeys(above) if item not in seen]
            seen.update(frontier)
