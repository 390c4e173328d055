"""Other names for what a caption names: synonyms, and what it is a kind of, by WordNet.

Captions of cut-outs and of class-labelled photographs say "collie" and never "dog" or "animal". People type all three.
"""

import numpy as np
import numpy.typing as npt

from tcl_core.data.phrases import noun_phrases
from tcl_core.data.samples import Sample, Source
from tcl_core.data.wordnet import PLAIN_NAME, WordNet
from tcl_core.errors import Problem

# Kinds that people name; WordNet's own ladder is full of rungs that nobody types ("placental", "instrumentality").
_EVERYDAY = (
    "animal bird fish insect reptile snake dog cat horse cow sheep bear monkey shark spider butterfly person man woman "
    "child face body hand food fruit vegetable meat bread cake drink plant tree flower leaf grass mushroom vehicle car "
    "truck bus train boat ship airplane aircraft bicycle motorcycle building house furniture chair table bed lamp "
    "clothing shirt coat dress hat shoe bag jewelry toy ball game tool knife weapon bottle cup bowl box book "
    "paper clock watch computer telephone guitar piano drum sky cloud water sea mountain "
    "rock road sign fence door window wall"
)
EVERYDAY = frozenset(_EVERYDAY.split()) | {"musical instrument"}


class Thesaurus:
    """Other names from WordNet, for the most common meaning that can be seen.

    Args:
        wordnet: with its index.
    """

    def __init__(self, wordnet: WordNet) -> None:
        self._wordnet = wordnet

    def names(self, phrase: str) -> list[str]:
        """List other names for a phrase; of "european bear", which WordNet does not know, those of "bear"."""
        words = phrase.split()
        for first in range(len(words)):
            known = " ".join(words[first:])
            offset = self._wordnet.visible_sense(known)
            if offset is not None:
                return [name for name in self._of(offset) if name not in (phrase, known)] + [known] * (first > 0)
        return []

    def _of(self, offset: str) -> list[str]:
        synsets = self._wordnet.synsets
        synonyms = [name for name in synsets[offset].names if PLAIN_NAME.fullmatch(name)]
        kinds = [name for above in self._wordnet.ancestors(offset) for name in synsets[above].names if name in EVERYDAY]
        return list(dict.fromkeys([*synonyms, *kinds]))


class Rephrased:
    """A source with some of the names in its captions replaced by others; a number always gives the same ones.

    Args:
        source: of the samples.
        thesaurus: gives the names.
        share: of the phrases that are replaced, if there is another name.
        seed: of the choice.
    """

    def __init__(self, source: Source, thesaurus: Thesaurus, share: float, seed: int) -> None:
        self.source, self.thesaurus, self.share, self.seed = source, thesaurus, share, seed
        self.problems: list[Problem] = source.problems
        self.groups: npt.NDArray[np.int32] = source.groups

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.source)

    def read(self, number: int, mode: str = "RGB") -> Sample:
        """Read a sample; its caption becomes a list of phrases.

        Raises:
            BadSampleError: it cannot be used.
        """
        sample = self.source.read(number, mode)
        chance = np.random.default_rng((self.seed, number))
        phrases = [self._maybe_other(phrase, chance) for phrase in noun_phrases(sample.caption)]
        return Sample(sample.image, ", ".join(phrases), sample.where)

    def _maybe_other(self, phrase: str, chance: np.random.Generator) -> str:
        if chance.random() >= self.share:
            return phrase
        names = self.thesaurus.names(phrase)
        return names[int(chance.integers(len(names)))] if names else phrase


__all__ = ["Rephrased", "Thesaurus"]
