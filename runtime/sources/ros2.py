"""The camera of a robot: a topic of ROS 2, reached over DDS without ROS."""

import os
import threading
from collections.abc import Collection
from functools import partial
from time import monotonic

from runtime.errors import SourceError, SourceNotFoundError
from runtime.ros.dds import Environment, Publication, Reader, domain_of, is_local, join, require, split
from runtime.ros.message import COMPRESSED, IMAGE, decode_packed, decode_raw
from runtime.sources.live import PATIENCE, LiveSource, Patience, Picture
from runtime.sources.robot_picture import picture_of
from runtime.sources.source import Stamp

FORM = "ros2:/camera/image_raw (?type=raw or compressed, ?domain=0 to 232, ?reliability=best_effort)"

KINDS = {"raw": IMAGE, "compressed": COMPRESSED}

DISCOVERY_S = 5.0
"""How long to look for a publisher. On a local network all are heard of within a second or two."""

TICK_S = 0.05
"""Between two looks at what is published."""

MOST_BAD = 10
"""Messages in a row that are no pictures, before what sends them is given up; the first must be one."""


class Ros2Capture:
    """A topic that is listened to.

    Args:
        topic: its name.
        kinds: of messages that are taken, the first best.
        domain: of ROS.
        environment: variables by which ROS is told where to look.
        best_effort: do without what is lost, also where the publisher would send it again.

    Raises:
        SourceError: Cyclone DDS is not installed, or finds no network.
    """

    fps: float | None = None

    def __init__(
        self, topic: str, kinds: Collection[str], domain: int, *, environment: Environment, best_effort: bool
    ) -> None:
        self._topic, self._kinds, self._best_effort = topic, kinds, best_effort
        self._local = is_local(environment)
        self._participant = join(domain, environment, SourceError)
        self._kind = ""
        self._reader: Reader | None = None
        self._reading, self._closing = threading.Lock(), threading.Lock()
        self._closed = threading.Event()
        self._bad = MOST_BAD - 1

    def read(self) -> Picture | None:
        """Wait for the next picture, first of all for somebody who publishes the topic.

        Raises:
            SourceError: nobody does, or what comes is no picture.
        """
        with self._reading:
            if self._reader is None:
                self._reader = self._find()
            while self._reader is not None and not self._closed.is_set():
                data = self._reader.take(1.0)
                if data is None:
                    continue
                try:
                    picture = self._decode(data)
                except SourceError as error:
                    self._bad += 1
                    if self._bad >= MOST_BAD:
                        raise SourceError(f"{self._topic}: {error}") from None
                    continue
                self._bad = 0
                return picture
        return None

    def _decode(self, data: bytes) -> Picture:
        message = decode_raw(data) if self._kind == IMAGE else decode_packed(data)
        return Picture(picture_of(message), Stamp(message.header.nanoseconds, message.header.frame_id))

    def _find(self) -> Reader | None:
        end_s = monotonic() + DISCOVERY_S
        while not self._closed.is_set():
            there = self._participant.published()
            for kind in self._kinds:
                offers = [one.reliable for one in there if (one.topic, one.kind) == (self._topic, kind)]
                if offers:
                    self._kind = kind
                    # A picture is thousands of packets: without repeats, one that is lost costs all of it.
                    return self._participant.reader(self._topic, kind, reliable=all(offers) and not self._best_effort)
            if monotonic() > end_s:
                raise SourceError(self._nobody(there))
            self._closed.wait(TICK_S)
        return None

    def _nobody(self, there: Collection[Publication]) -> str:
        """Say what is there instead."""
        others = sorted({one.kind for one in there if one.topic == self._topic})
        wanted = " or ".join(self._kinds)
        if others:
            found = f"{self._topic} has messages {', '.join(others)}, expected {wanted}"
        else:
            found = f"nobody publishes {self._topic} in the ROS domain {self._participant.domain}"
            found += ", as far as this machine alone is looked at" if self._local else ""
        cameras = sorted({one.topic for one in there if one.kind in KINDS.values()})
        if cameras:
            return f"{found}; topics with pictures: {', '.join(cameras)}"
        topics = sorted({one.topic for one in there})
        if topics:
            return f"{found}; topics there, none of them with pictures: {', '.join(topics[:20])}"
        return (
            f"{found}, nor any other topic: is the robot on the same network, with the same ROS_DOMAIN_ID, a DDS "
            "middleware (not Zenoh), and no firewall between (UDP ports from 7400 on)?"
        )

    def close(self) -> None:
        """Leave the domain; whoever waits in `read` returns first."""
        with self._closing:
            if self._closed.is_set():
                return
            self._closed.set()
            if self._reader is not None:
                self._reader.wake()
            with self._reading:  # Cyclone DDS must not be closed under a read
                self._participant.close()


def open_ros2(source: str, *, patience: Patience = PATIENCE, wait: bool = True) -> LiveSource:
    """Open the topic of a robot's camera, and again whenever it is lost.

    Args:
        source: see `FORM`.
        patience: see `LiveSource`.
        wait: see `LiveSource`.

    Raises:
        SourceNotFoundError: it is written in another way.
        SourceError: Cyclone DDS is not installed, nobody publishes the topic, or what comes is no picture.
    """
    topic, options = split(source, {"type", "domain", "reliability"}, FORM, SourceNotFoundError)
    best_effort = "reliability" in options
    if options.get("type", "raw") not in KINDS or options.get("reliability", "best_effort") != "best_effort":
        raise SourceNotFoundError(f"{source!r} given, expected {FORM}")
    kinds = [KINDS[options["type"]]] if "type" in options else list(KINDS.values())
    domain = domain_of(options.get("domain"), os.environ, SourceNotFoundError)
    require(SourceError)
    connect = partial(Ros2Capture, topic, kinds, domain, environment=os.environ, best_effort=best_effort)
    return LiveSource(f"ros2:{topic}", connect, patience=patience, wait=wait)
