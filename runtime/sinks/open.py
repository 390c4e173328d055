"""Open a sink given as text."""

import os
from pathlib import Path

from runtime.errors import SinkNameError
from runtime.sinks.arrays import ArraySink
from runtime.sinks.bag import BagSink
from runtime.sinks.coco import CocoSink
from runtime.sinks.cvat import CvatSink
from runtime.sinks.display import DisplaySink
from runtime.sinks.jsonl import JsonLinesSink
from runtime.sinks.label_studio import LabelStudioSink
from runtime.sinks.masks import MaskSink
from runtime.sinks.output import Outputs, is_pattern
from runtime.sinks.panoptic import PanopticSink
from runtime.sinks.pictures import OverlaySink, PictureSink
from runtime.sinks.ros2 import Ros2Sink
from runtime.sinks.sink import Sink
from runtime.sinks.video import VIDEOS, VideoSink
from runtime.sources.address import redacted
from runtime.sources.source import Source

FORMS = (
    "out.mp4, out.png (one picture), a folder or out/%06d.png (a picture a frame), masks/ or masks/%06d.png "
    "(a folder named masks: class indices), masks.npz, out.json (COCO instances), out.panoptic/ (COCO panoptic), "
    "out.jsonl (a line a frame), out.labelstudio.json, out.cvat.xml, ros2:/segmentation (topics for a robot), "
    "bag:out.mcap (the same, recorded), or display"
)

RECORDS = {
    ".labelstudio.json": LabelStudioSink,
    ".cvat.xml": CvatSink,
    ".json": CocoSink,
    ".jsonl": JsonLinesSink,
    ".npz": ArraySink,
    ".panoptic": PanopticSink,
}
"""What the end of a name stands for; the first that fits."""


def open_sink(
    sink: str, source: Source, words: tuple[str, ...], outputs: Outputs, *, segment_s: float | None = None
) -> Sink:
    """Open a sink given as text; whether it may be written is known before the first frame.

    Args:
        sink: see `FORMS`. A name that ends in a slash, or is there as a folder, is a folder.
        source: whose frames it will get.
        words: the word of each mask index, as long as nobody changes them.
        outputs: every file is claimed there.
        segment_s: seconds of each piece that a video is recorded in; None for one file.

    Raises:
        SinkNameError: no such kind, or what it names must not be written.
        SinkError: the place cannot be written.
    """
    if sink == "display":
        return DisplaySink(source)
    if sink.startswith("ros2:"):
        return Ros2Sink(sink, source, outputs)
    if sink.startswith("bag:"):
        return BagSink(sink, outputs)
    path = Path(sink)
    if "://" in sink:
        raise SinkNameError(f"sink {redacted(sink)!r} is of a kind that is not supported: expected {FORMS}")
    folder = sink.endswith(("/", os.sep)) or path.is_dir()
    records = next((kind for ending, kind in RECORDS.items() if path.name.lower().endswith(ending)), None)
    if records is not None and (records is PanopticSink or not folder):
        return records(path, source, words, outputs)
    if folder or path.suffix == "":
        return _open_folder(path / "{name}.png", source, words, outputs)
    if path.suffix.lower() in VIDEOS:
        return VideoSink(path, source.fps, outputs, segment_s=segment_s, live=source.live)
    if path.suffix.lower() not in {".png", ".jpg", ".jpeg"}:
        raise SinkNameError(
            f"sink {redacted(sink)!r} given, expected {FORMS}; the name of a folder that is not there yet ends in /"
        )
    if path.parent.name == "masks" or is_pattern(path):
        return _open_folder(path, source, words, outputs)
    return PictureSink(path, source, outputs)


def _open_folder(pattern: Path, source: Source, words: tuple[str, ...], outputs: Outputs) -> Sink:
    kind = MaskSink if pattern.parent.name == "masks" else OverlaySink
    return kind(pattern, source, words, outputs)
