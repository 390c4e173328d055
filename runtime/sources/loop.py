"""A source over and over again."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from runtime.errors import SourceError
from runtime.sources.source import Frame, Source

USUAL_STEP_S = 1 / 25


class LoopSource(Source):
    """Begins again whenever its source has ended: frames are numbered and timed on.

    Args:
        open_again: opens the source; called at once, and after each end.

    Raises:
        SourceError: it cannot be opened, never ends by itself, or has no frame.
    """

    ends = False

    def __init__(self, open_again: Callable[[], Source]) -> None:
        super().__init__()
        self._open = open_again
        self._source = open_again()
        if not self._source.ends:
            self._source.close()
            raise SourceError("a source that never ends cannot begin again: leave --loop out")
        self.fps, self.inputs = self._source.fps, self._source.inputs

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames for ever.

        Raises:
            SourceError: there is no frame, or the source is damaged.
        """
        index, begin_s = 0, 0.0
        while True:
            last_s = begin_s
            before = index
            for frame in self._source:
                last_s = begin_s + frame.time_s
                yield replace(frame, index=index, time_s=last_s, name=f"{index:06d}")
                index += 1
            if index == before:
                raise SourceError("the source has no frames, and would begin again for ever")
            begin_s = last_s + (1 / self.fps if self.fps else USUAL_STEP_S)
            self._source.close()
            self._source = self._open()

    def close(self) -> None:
        """Close the source."""
        self._source.close()
