"""A graph with its words inside, used like one that takes them as an input."""

from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.closing import Closing
from runtime.engines.base import Arrays, Engine
from runtime.errors import EngineError, VocabularyError

SAME = 0.9999
"""Cosine from which on two rows are the same word; two words that close could not be told apart anyway."""


class FoldedWords(Closing):
    """Pick the masks of the asked-for rows out of those that the graph always computes.

    Args:
        engine: image (1,3,H,W) -> masks (1,M,h,w); closed with this one.
        embeddings: the unit rows (M,C) inside the graph, in its order.
    """

    most_words = None  # any number: each row picks a mask

    def __init__(self, engine: Engine, embeddings: npt.NDArray[np.float32]) -> None:
        self._engine = engine
        self._embeddings = embeddings

    def infer(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        """Run the graph on `image`, and return the masks (1,N,h,w) of the rows (N,C) of `text`.

        Raises:
            VocabularyError: a row is not inside the graph.
            EngineError: an input is missing or unknown, or the graph failed.
        """
        if set(inputs) != {"image", "text"}:
            raise EngineError(f"a segmenter takes ['image', 'text'], got {sorted(inputs)}")
        cosines = inputs["text"] @ self._embeddings.T
        if (cosines.max(axis=1) < SAME).any():
            raise VocabularyError(
                "a word is not in the graph, whose words were folded in at export: use its own classes and background, "
                "or export without --fold-text"
            )
        outputs = self._engine.infer({"image": inputs["image"]})
        return {"masks": outputs["masks"][:, cosines.argmax(axis=1)]}

    def close(self) -> None:
        """Free the engine; closing again does nothing."""
        self._engine.close()
