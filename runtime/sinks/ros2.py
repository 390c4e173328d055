"""Results for a robot: topics of ROS 2, over DDS without ROS."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from runtime.errors import SinkError, SinkNameError
from runtime.frame import BGR
from runtime.ros.dds import domain_of, join, split
from runtime.ros.message import IMAGE, LABELS, Header, Labels, bgr_message, encode, mask_message
from runtime.segmentation import Segmentation
from runtime.sinks.output import Outputs
from runtime.sinks.sink import Sink
from runtime.sources.source import Frame, Source

FORM = "ros2:/segmentation (?domain=0 to 232)"

OVERLAY, WORDS = "/overlay", "/labels"
"""Topics below that of the masks."""


def header_of(frame: Frame, nanoseconds: int) -> Header:
    """Stamp a result as its picture was; with `nanoseconds` where that had no stamp."""
    return Header(nanoseconds) if frame.stamp is None else Header(frame.stamp.nanoseconds, frame.stamp.frame_id)


class Ros2Sink(Sink):
    """Three topics: class ids as mono8 or mono16, the overlay as bgr8, and which word each id means.

    Words are latched: who comes later gets them, too, and everybody when they change. Pictures are sent to those who
    listen, reliably but the newest alone; no listener is waited for.

    Args:
        sink: see `FORM`.
        source: whose frames it gets; not one of these topics.
        outputs: where the topics are claimed.

    Raises:
        SinkNameError: it is written in another way, or it is the source.
        SinkError: Cyclone DDS is not installed, or finds no network.

    Attributes:
        dropped: pictures that a listener was too slow for.
    """

    def __init__(self, sink: str, source: Source, outputs: Outputs) -> None:
        topic, options = split(sink, {"domain"}, FORM, SinkNameError)
        domain = domain_of(options.get("domain"), os.environ, SinkNameError)
        for name in (topic, topic + OVERLAY, topic + WORDS):
            if getattr(source, "name", None) == f"ros2:{name}":
                raise SinkNameError(f"the topic {name} is the source itself: choose another one, as /segmentation")
            outputs.claim_name(f"ros2:{name} in domain {domain}")
        self.dropped = 0
        self._topic = topic
        self._participant = join(domain, os.environ, SinkError)
        with self._told():
            self._masks = self._participant.writer(topic, IMAGE)
            self._overlays = self._participant.writer(topic + OVERLAY, IMAGE)
            self._labels = self._participant.writer(topic + WORDS, LABELS, latched=True)
        self._words: tuple[str, ...] | None = None

    def write(self, result: Segmentation, frame: Frame, picture: BGR) -> None:
        """Publish the result of a frame.

        Raises:
            SinkError: Cyclone DDS refuses it.
        """
        header = header_of(frame, time.time_ns())
        with self._told():
            if result.names != self._words:
                labels = Labels(header, result.names, result.threshold or 0.0)
                self._words = result.names if self._labels.write(encode(labels)) else None  # or with the next frame
            if self._masks.heard:
                self.dropped += not self._masks.write(encode(mask_message(header, result.mask)))
            if self._overlays.heard:
                self.dropped += not self._overlays.write(encode(bgr_message(header, picture)))

    @contextmanager
    def _told(self) -> Iterator[None]:
        from cyclonedds.core import DDSException

        try:
            yield
        except DDSException as error:
            raise SinkError(f"{self._topic} cannot be published: {error.msg}") from error

    def close(self, *, complete: bool) -> None:
        """Leave the domain, when what was sent has arrived, or after a second."""
        self._participant.close()
