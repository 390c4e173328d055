"""Where the stream leaves its newest frame for whoever watches, and is never made to wait."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import Lock
from time import monotonic

import numpy as np

from runtime.frame import BGR
from runtime.overlay import Look
from runtime.segmentation import Segmentation
from runtime.segmenter import Segmenter
from runtime.serve.words import WordSettings
from runtime.sinks.live_words import LiveWords
from runtime.sinks.sink import Sink
from runtime.sources.source import Frame, State
from runtime.stream.status import Status

KEPT_S = 1.0
"""While nobody watches, a frame is kept so often: for whoever asks for a picture of a stream that stands still."""


@dataclass(frozen=True, eq=False)
class Shot:
    """A frame and what was found in it, in memory of its own.

    Attributes:
        number: counts the kept frames, from 1 on.
        words_version: counts the changes of words, from 1 on; frames of one version have the same names and colours.
        result: without soft masks.
        index: the frame's number in its source.
        time_s: when it is shown, in seconds since the first.
        arrived_s: when it came in (`time.monotonic`); None for what does not age.
    """

    number: int
    words_version: int
    result: Segmentation
    index: int
    time_s: float
    arrived_s: float | None

    def age_ms(self) -> float | None:
        """Milliseconds since the picture came in."""
        return None if self.arrived_s is None else 1000 * (monotonic() - self.arrived_s)


class Channel(Sink):
    """The newest frame of a stream. Writing copies it, and only while somebody watches; nothing is queued.

    Args:
        segmenter: of the stream; its words can be changed, also before the first frame.
        status: tells how the stream is, from any thread.

    Attributes:
        look: how frames are painted for who does not paint them.
        words: to be read and changed.
        newest: the last frame that was kept, None before the first.
    """

    paints = False
    immediate = True  # keeping a frame takes less time than a thread would

    def __init__(self, segmenter: Segmenter, status: Callable[[], Status]) -> None:
        self.status, self.words = status, WordSettings(LiveWords(segmenter))
        self.look = Look()
        self.newest: Shot | None = None
        self._version = 0
        self._kept_s = -KEPT_S
        self._state: State | None = None
        self._watching = 0
        self._tell: Callable[[], None] | None = None
        self._lock = Lock()

    def begin(self, look: Look, words: LiveWords) -> None:
        """Paint as the other sinks do, and change words only as far as they can bear it."""
        self.look, self.words = look, WordSettings(words)

    def write(self, result: Segmentation, frame: Frame, picture: BGR) -> None:
        """Keep the frame, in place of the one before."""
        now_s = monotonic()
        if not self._watching and now_s - self._kept_s < KEPT_S:
            return
        before, self._kept_s = self.newest, now_s
        # The segmenter makes the colours anew whenever the words change, and gives them to every frame until then.
        changed = before is None or before.result.colours is not result.colours
        self._version += changed
        kept = replace(
            result,
            mask=result.mask.copy(),
            frame=result.frame.copy(),
            soft_masks=np.empty((0, 0, 0), np.float32),
            blended=None,
        )
        number = 1 if before is None else before.number + 1
        self.newest = Shot(number, self._version, kept, frame.index, frame.time_s, frame.arrived_s)
        self._state = "live"
        self._news()

    def idle(self, state: State, age_s: float | None) -> None:
        """Tell those who watch when the source changes its state."""
        if state != self._state:
            self._state = state
            self._news()

    def close(self, *, complete: bool) -> None:
        """Tell those who watch to look how the stream is."""
        self._state = None
        self._news()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Have every frame kept for the time of a `with` block."""
        with self._lock:
            self._watching += 1
        try:
            yield
        finally:
            with self._lock:
                self._watching -= 1

    def on_news(self, tell: Callable[[], None] | None) -> None:
        """Name what is called, in the thread of the stream, when there is a frame or another state; it may not block.

        Once this returns, what was named before is called no more.
        """
        with self._lock:
            self._tell = tell

    def _news(self) -> None:
        with self._lock:
            if self._tell is not None:
                self._tell()
