"""A line of JSON a frame."""

from pathlib import Path

from runtime.frame import BGR
from runtime.segmentation import Segmentation
from runtime.sinks.output import Outputs
from runtime.sinks.record import RecordSink, as_json, as_text
from runtime.sources.source import Frame, Source


class JsonLinesSink(RecordSink):
    """A line of JSON a frame, complete when it is written, so that a reader can follow (`tail -f out.partial.jsonl`).

    Each has `frame`, `name`, `path` (null if there is none), `time_s`, `size` [height, width], `coverage` (share of
    the frame by word; the background's included) and `regions`, largest first: `word`, `box` [x1, y1, x2, y2],
    `area` in pixels, `confidence`. The words may change from one line to the next.
    """

    def __init__(self, path: Path, source: Source, words: tuple[str, ...], outputs: Outputs) -> None:
        super().__init__(path, outputs)

    def write(self, result: Segmentation, frame: Frame, picture: BGR) -> None:
        """Append the line of a frame."""
        record = {
            "frame": frame.index,
            "name": as_text(frame.name),
            "path": None if frame.path is None else as_text(str(frame.path)),
            "time_s": round(frame.time_s, 6),
            "size": list(result.mask.shape),
            "coverage": {word: round(share, 6) for word, share in result.coverage().items()},
            "regions": [
                {
                    "word": region.name,
                    "box": region.box,
                    "area": region.area,
                    "confidence": round(region.confidence, 4),
                }
                for region in result.regions()
            ],
        }
        self.append(as_json(record) + "\n")
