"""What a source of frames is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.closing import Closing
from runtime.frame import BGR


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a source.

    Attributes:
        image: BGR (H,W,3) uint8.
        index: its number, from 0 on.
        time_s: when it is shown, or came from a camera, in seconds since the first.
        name: for files, unique within the source; may be a path of several parts ("left/0001").
        path: the file that it comes from, None if there is none.
    """

    image: BGR
    index: int
    time_s: float
    name: str
    path: Path | None = None


class Source(Closing):
    """An iterable of frames that is closed on every way out.

    Attributes:
        fps: frames per second of the source, None if it has no rate.
        count: number of frames announced, None for an endless source.
        ends: it comes to an end by itself, so that what is stopped before is not all of it.
        live: frames that nobody fetched in time are dropped.
        names: of all frames in order, where they are known before the first; None otherwise.
        inputs: files and folders that it reads, which no result may replace.
        problems: what was skipped and why, one line each.
        left_out: what lies beside the frames' files and is nothing to be read here, one line a kind.
        dropped: frames of a live source that nobody fetched.
    """

    fps: float | None = None
    count: int | None = None
    ends = True
    live = False
    dropped = 0
    names: Sequence[str] | None = None
    inputs: Sequence[Path] = ()
    left_out: Sequence[str] = ()

    def __init__(self) -> None:
        self.problems: list[str] = []

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames in order.

        Raises:
            SourceError: the source ended before its announced end.
        """
        raise TypeError(f"{type(self).__name__} does not yield frames")
