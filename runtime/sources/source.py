"""What a source of frames is."""

from collections.abc import Iterator
from dataclasses import dataclass

from runtime.closing import Closing
from runtime.frame import BGR


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a source: BGR (H,W,3) uint8, its number from 0, its time in seconds, and a name for files."""

    image: BGR
    index: int
    time_s: float
    name: str


class Source(Closing):
    """An iterable of frames that is closed on every way out.

    Attributes:
        fps: frames per second of the source, None if it has no rate.
        count: number of frames announced, None for an endless source.
        live: frames that nobody fetched in time are dropped.
        problems: what was skipped and why, one line each.
        dropped: frames of a live source that nobody fetched.
    """

    fps: float | None = None
    count: int | None = None
    live = False
    dropped = 0

    def __init__(self) -> None:
        self.problems: list[str] = []

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames in order.

        Raises:
            SourceError: the source ended before its announced end.
        """
        raise TypeError(f"{type(self).__name__} does not yield frames")
