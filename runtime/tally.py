"""Which words a run found."""

from runtime.segmentation import Segmentation

MOST_REMEMBERED = 2000
"""Words besides those of the last frame: where they change every second for a month, the first are forgotten."""


class Tally:
    """Remembers which words covered a pixel; given to `runtime.stream.loop` as `on_result=tally.add`.

    Pixels are counted for as long as a word is missing: a millisecond a frame of 1080p, and nothing from then on.
    """

    def __init__(self) -> None:
        self._found: dict[str, bool] = {}
        self._names: tuple[str, ...] = ()
        self._missing = False

    def add(self, result: Segmentation, frame: object = None) -> None:
        """Look at the result of a frame; the frame itself does not matter."""
        if result.names != self._names:
            self._names = result.names
            words = (word for index, word in enumerate(result.names) if index != result.unpainted)
            self._found |= {word: False for word in words if word not in self._found}
            now = set(result.names)
            earlier = [word for word in self._found if word not in now]
            for word in earlier[: max(len(earlier) - MOST_REMEMBERED, 0)]:
                del self._found[word]
            self._missing = not all(self._found.get(word, True) for word in result.names)
        if self._missing:
            found = {word for word, count in zip(result.names, result.counts, strict=True) if count}
            self._found.update((word, True) for word in found & self._found.keys())
            self._missing = not all(self._found.get(word, True) for word in result.names)

    @property
    def never_found(self) -> tuple[str, ...]:
        """The words that had 0 pixels in every frame; those that were segmented for a part of the run, in that part."""
        return tuple(word for word, found in self._found.items() if not found)
