"""The words of a stream, for those who watch it and may change them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from runtime.errors import VocabularyError
from runtime.segmenter import KEPT, Kept, Segmenter
from runtime.words.vocabulary import Background, Vocabulary, Words

if TYPE_CHECKING:
    from runtime.sinks.sink import Sink


class LiveWords:
    """Changes the words of a segmenter, unless results are being written that need them to stay.

    Args:
        segmenter: whose words.
        sinks: of its stream.
    """

    def __init__(self, segmenter: Segmenter, sinks: "Sequence[Sink]" = ()) -> None:
        self._segmenter, self._sinks = segmenter, sinks

    @property
    def vocabulary(self) -> Vocabulary:
        """The words that the next frame is segmented with."""
        return self._segmenter.vocabulary

    @property
    def names(self) -> tuple[str, ...]:
        """The word of each mask index."""
        return self._segmenter.names

    def set_classes(
        self,
        classes: Words | None,
        *,
        background: Background | Literal[Kept.KEPT] = KEPT,
        threshold: float | Literal[Kept.KEPT] | None = KEPT,
    ) -> None:
        """Change them: see `Segmenter.set_classes`.

        Raises:
            VocabularyError: they are refused, and nothing changes.
        """
        if any(sink.one_word_list for sink in self._sinks):
            raise VocabularyError(
                "the words stay as they are: masks are being written that are read with one list of words; "
                "out.jsonl, out.json and videos may have others from a frame on"
            )
        self._segmenter.set_classes(classes, background=background, threshold=threshold)

    def __str__(self) -> str:
        """The classes as they are typed."""
        return ", ".join(map(str, self.vocabulary.classes))
