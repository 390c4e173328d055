"""What a source of frames is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runtime.closing import Closing
from runtime.frame import BGR

State = Literal["live", "stale", "reconnecting", "ended", "failed"]
"""Of a source: `stale` when nothing came for too long, `reconnecting` while it is opened again."""

TICK_S = 0.1
"""How often those who wait for a live source are told that they wait, in seconds."""


@dataclass(frozen=True)
class Stamp:
    """When and where a picture was taken, as the sender says; results carry it on.

    Attributes:
        nanoseconds: since 1970, or since whatever the sender counts from.
        frame_id: the coordinate frame of the camera, as ROS names it.
    """

    nanoseconds: int
    frame_id: str = ""


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a source.

    Attributes:
        image: BGR (H,W,3) uint8.
        index: its number, from 0 on.
        time_s: when it is shown, or came from a camera, in seconds since the first.
        name: for files, unique within the source; may be a path of several parts ("left/0001").
        path: the file that it comes from, None if there is none.
        arrived_s: when a live picture came in (`time.monotonic`); None for what does not age.
        stamp: what the sender says about it, if it does.
    """

    image: BGR
    index: int
    time_s: float
    name: str
    path: Path | None = None
    arrived_s: float | None = None
    stamp: Stamp | None = None


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
        broken: frames of a live source that came and could not be decoded.
        reconnects: how often a live source was lost and came back.
    """

    fps: float | None = None
    count: int | None = None
    ends = True
    live = False
    dropped = 0
    broken = 0
    reconnects = 0
    names: Sequence[str] | None = None
    inputs: Sequence[Path] = ()
    left_out: Sequence[str] = ()

    def __init__(self) -> None:
        self.problems: list[str] = []

    @property
    def state(self) -> State:
        """Tell how the source is; only a live one is ever anything but `live` while it is read."""
        return "live"

    @property
    def age_s(self) -> float | None:
        """Seconds since a live source last sent a picture; None where it has sent none, or nothing ages."""
        return None

    @property
    def arriving_fps(self) -> float | None:
        """Pictures per second that a live source sends at the moment, fetched or not; None where that means nothing."""
        return None

    @property
    def unchanged_s(self) -> float | None:
        """Seconds for which a live source has sent the same picture again and again; None where nothing ages."""
        return None

    @property
    def problem(self) -> str | None:
        """Say why a live source was lost, or cannot be opened; None where nothing is known."""
        return None

    def stop(self) -> None:
        """Let whoever waits for the next frame find the end instead. May be called from anywhere, also a signal."""

    def frames(self, tick_s: float) -> Iterator[Frame | None]:
        """Yield the frames as `__iter__` does, and None whenever a live source sent nothing for `tick_s` seconds."""
        yield from self

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames in order.

        Raises:
            SourceError: the source ended before its announced end.
        """
        raise TypeError(f"{type(self).__name__} does not yield frames")
