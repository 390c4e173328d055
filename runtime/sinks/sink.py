"""What a sink of results is.

A file appears under its name only when it is complete; what was written until an error stays beside it as
`NAME.partial.EXT`, so that nothing is lost and nothing half-written is mistaken for a result.
"""

import os
from pathlib import Path

from runtime.errors import SinkError
from runtime.frame import BGR
from runtime.overlay import Look
from runtime.segmentation import Segmentation
from runtime.sinks.live_words import LiveWords
from runtime.sources.source import Frame, State


class Sink:
    """Takes results one by one.

    Attributes:
        paints: wants the painted frame, which is cheapest to make in the pass that makes the mask.
        finished: wants no more frames.
        immediate: is written to by the thread that runs the stream: because it takes no time, or nobody else may.
        one_word_list: its results are read with one list of words, so that these must not change.
        partial: an incomplete file that it left behind.
    """

    paints = True
    finished = False
    immediate = False
    one_word_list = False
    partial: Path | None = None

    def begin(self, look: Look, words: LiveWords) -> None:
        """Learn, before the first one, how the pictures are painted, and whose words those who watch may change."""

    def write(self, result: Segmentation, frame: Frame, picture: BGR) -> None:
        """Write the result of a frame. Its arrays are used again for the next one: copy what is to be kept.

        Args:
            result: what was found.
            frame: where.
            picture: the frame with the words painted over it, if this or another sink `paints`.

        Raises:
            SinkError: it cannot be written.
        """
        raise TypeError(f"{type(self).__name__} does not write")

    def holds(self) -> bool:
        """Tell whether somebody still looks at the frame, so that the next has to wait; asked again until not.

        Waits a moment itself.
        """
        return False

    def idle(self, state: State, age_s: float | None) -> None:
        """Learn that a live source sends nothing; called about ten times a second until it does.

        Args:
            state: how the source is.
            age_s: seconds since its last picture; None if there was none.
        """

    def close(self, *, complete: bool) -> None:
        """Finish; closing again does nothing.

        Args:
            complete: whether every result was written, so that a file takes its name.

        Raises:
            SinkError: the result cannot be finished.
        """


def make_folder(folder: Path) -> None:
    """Make the folder of a result, if it is not there.

    Raises:
        SinkError: it cannot be made, or not be written into.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SinkError(f"folder {folder} cannot be made: {error.strerror}") from None
    if not os.access(folder, os.W_OK):
        raise SinkError(f"folder {folder} is not writable")
