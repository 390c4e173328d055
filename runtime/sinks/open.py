"""Open a sink given as text."""

from pathlib import Path

from runtime.errors import SinkNameError
from runtime.sinks.display import DisplaySink
from runtime.sinks.masks import MaskSink
from runtime.sinks.pictures import OverlaySink, PictureSink
from runtime.sinks.sink import Sink, is_pattern
from runtime.sinks.video import VIDEOS, VideoSink

FORMS = (
    "out.mp4, out.png (one picture), a folder or out/%06d.png (a picture a frame), masks/ or masks/%06d.png "
    "(a folder named masks: class indices), or display"
)


def open_sink(sink: str, *, fps: float | None) -> Sink:
    """Open a sink given as text.

    Args:
        sink: see `FORMS`.
        fps: rate of a video; 25 if the source has none.

    Raises:
        SinkNameError: no such kind.
        SinkError: the place cannot be written.
    """
    if sink == "display":
        return DisplaySink()
    path = Path(sink)
    if "://" in sink:
        raise SinkNameError(f"sink {sink!r} is of a kind that is not supported: expected {FORMS}")
    if path.suffix.lower() in VIDEOS:
        return VideoSink(path, fps or 25)
    if path.suffix.lower() not in {"", ".png", ".jpg", ".jpeg"}:
        raise SinkNameError(f"sink {sink!r} given, expected {FORMS}")
    if path.suffix == "":
        path /= "{name}.png"
    if path.parent.name == "masks":
        return MaskSink(path)
    return OverlaySink(path) if is_pattern(path) else PictureSink(path)
