"""DDS as ROS 2 uses it, without ROS: Cyclone DDS with ROS's names of topics and types, and its bytes of messages.

Whoever publishes or listens with any ROS 2 over DDS on the same network and domain is reached. Messages go in and out
as bytes (`runtime/ros/message.py`): Cyclone DDS for Python would make a list of millions of numbers of a picture.
"""

import os
import re
import threading
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

from runtime.closing import Closing
from runtime.errors import TclEdgeError
from runtime.ros.message import COMPRESSED, IMAGE, LABELS

TOPIC = re.compile(r"/?[A-Za-z_]\w*(/[A-Za-z_]\w*)*", re.ASCII)
"""What ROS 2 takes for the name of a topic."""

LAST_DOMAIN = 232
"""For which there are ports."""

BUFFER = '<CycloneDDS><Domain><Internal><SocketReceiveBufferSize max="32 MiB"/></Internal></Domain></CycloneDDS>'
"""Cyclone DDS's configuration: pictures of megabytes arrive in as much as the system allows, or are lost."""

LOCALHOST = (
    '<CycloneDDS><Domain><General><Interfaces><NetworkInterface address="127.0.0.1"/></Interfaces></General>'
    '<Discovery><ParticipantIndex>auto</ParticipantIndex><Peers><Peer address="localhost"/></Peers></Discovery>'
    "</Domain></CycloneDDS>"
)
"""Cyclone DDS's configuration for this machine alone, as ROS 2 has it; a loopback has no multicast to be found by."""

HASHES = {
    IMAGE: "RIHS01_d31d41a9a4c4bc8eae9be757b0beed306564f7526c88ea6a4588fb9582527d47",
    COMPRESSED: "RIHS01_15640771531571185e2efc8a100baf923961a4d15d5569652e6cb6691e8e371a",
    LABELS: "RIHS01_3d37df4015cdf660cc851c51897f2acd957e1ca6205ba0a99aebffb9406b0783",
}
"""ROS 2's hashes of the types, which it looks for beside a topic and warns where there is none."""

Environment = Mapping[str, str]


class Wrong(Protocol):
    """The error that a name or number out of range is for whoever asks."""

    def __call__(self, message: str, /) -> TclEdgeError:
        """Make it of a message."""


def split(text: str, allowed: Set[str], form: str, wrong: Wrong) -> tuple[str, dict[str, str]]:
    """Take `ros2:/camera?domain=3` apart: the topic, and the options.

    Raises:
        TclEdgeError: it is not written so; of the type that `wrong` makes.
    """
    parts = urlsplit(text)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if parts.netloc or options.keys() - allowed:
        raise wrong(f"{text!r} given, expected {form}")
    return topic_of(parts.path, wrong), options


def topic_of(name: str, wrong: Wrong) -> str:
    """Check the name of a topic, and begin it with a slash.

    Raises:
        TclEdgeError: ROS has no such names; of the type that `wrong` makes.
    """
    if not TOPIC.fullmatch(name):
        raise wrong(
            f"{name!r} is no name of a ROS topic: expected one like /camera/image_raw, of letters, digits and _"
        )
    return name if name.startswith("/") else f"/{name}"


def domain_of(given: str | None, environment: Environment, wrong: Wrong) -> int:
    """Choose the domain: the number given, or `ROS_DOMAIN_ID`, or 0.

    Raises:
        TclEdgeError: it is no number from 0 to 232; of the type that `wrong` makes.
    """
    where, text = (
        ("?domain=", given) if given is not None else ("ROS_DOMAIN_ID=", environment.get("ROS_DOMAIN_ID") or "0")
    )
    if not (text.isascii() and text.isdigit() and int(text) <= LAST_DOMAIN):
        raise wrong(f"{where}{text} given, expected the number of a ROS domain, 0 to {LAST_DOMAIN}")
    return int(text)


def is_local(environment: Environment) -> bool:
    """Tell whether ROS 2 is told to stay on this machine."""
    alone = environment.get("ROS_LOCALHOST_ONLY", "0").lower() in ("1", "true")
    return alone or environment.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "").upper() == "LOCALHOST"


_CONFIGURING = threading.Lock()
"""The variable belongs to the process, whose sources are opened by threads."""


@contextmanager
def _configured(local: bool) -> Iterator[None]:
    """Let Cyclone DDS find its configuration, which it reads when a process opens the first participant of a domain.

    The user's comes last, and wins.
    """
    with _CONFIGURING:
        before = os.environ.get("CYCLONEDDS_URI")
        os.environ["CYCLONEDDS_URI"] = ",".join(filter(None, [BUFFER, LOCALHOST if local else "", before]))
        try:
            yield
        finally:
            os.environ.pop("CYCLONEDDS_URI")
            if before is not None:
                os.environ["CYCLONEDDS_URI"] = before


@cache
def _types() -> dict[str, Any]:
    """Define the messages to Cyclone DDS, by ROS's names: these it compares with those of others.

    Once: it keeps every definition for as long as the process lives, and a robot that is off is looked for for months.
    """
    from cyclonedds.idl import make_idl_struct, types
    from cyclonedds.idl.types import float32, int32, uint8, uint16, uint32

    sequence: Any = types.sequence

    def struct(name: str, **fields: Any) -> Any:
        package, _, last = name.split("/")
        kind: Any = make_idl_struct(f"{last}_", f"{package}.msg.dds_.{last}_", fields, dataclassify=False)
        kind.serialize, kind.deserialize = _serialize, classmethod(_deserialize)
        kind.deserialize_key = classmethod(_deserialize)  # of the message that a publisher has left
        return kind

    time = struct("builtin_interfaces/msg/Time", sec=int32, nanosec=uint32)
    header = struct("std_msgs/msg/Header", stamp=time, frame_id=str)
    word = struct("vision_msgs/msg/VisionClass", class_id=uint16, class_name=str)
    return {
        IMAGE: struct(
            IMAGE,
            header=header,
            height=uint32,
            width=uint32,
            encoding=str,
            is_bigendian=uint8,
            step=uint32,
            data=sequence[uint8],
        ),
        COMPRESSED: struct(COMPRESSED, header=header, format=str, data=sequence[uint8]),
        LABELS: struct(LABELS, header=header, class_map=sequence[word], threshold=float32),
    }


def _serialize(self: Any, *_: Any, **__: Any) -> bytes:
    payload: bytes = self.payload
    return payload


def _deserialize(kind: Any, data: bytes, *_: Any, **__: Any) -> Any:
    return _sample(kind, data)


def _sample(kind: Any, payload: bytes) -> Any:
    sample = kind.__new__(kind)
    sample.payload = payload
    return sample


@dataclass(frozen=True, order=True)
class Publication:
    """What somebody publishes.

    Attributes:
        topic: its name, as ROS has it.
        kind: the type of its messages.
        reliable: whether what is lost is sent again to those who want it.
    """

    topic: str
    kind: str
    reliable: bool


class Participant(Closing):
    """Somebody in a ROS domain, who sees what others publish, reads and writes.

    Args:
        domain: its number.
        local: this machine only.

    Raises:
        ImportError: Cyclone DDS is not installed.
        DDSException: there is no network for it.
    """

    def __init__(self, domain: int, *, local: bool = False) -> None:
        from cyclonedds.builtin import BuiltinDataReader, BuiltinTopicDcpsPublication
        from cyclonedds.domain import DomainParticipant

        self.domain = domain
        with _configured(local):
            self._participant = DomainParticipant(domain)
        self._types = _types()
        self._discovery = BuiltinDataReader(self._participant, BuiltinTopicDcpsPublication)
        self._published: dict[Any, Publication] = {}

    def published(self) -> set[Publication]:
        """List what is published, as far as it has been heard of."""
        from cyclonedds.core import InstanceState, Policy

        while found := self._discovery.take(100):
            for endpoint in found:
                if endpoint.sample_info.instance_state != InstanceState.Alive:
                    self._published.pop(endpoint.key, None)
                elif endpoint.topic_name.startswith("rt/"):
                    kind = endpoint.type_name.replace("::dds_::", "::").removesuffix("_").replace("::", "/")
                    reliable = endpoint.qos[Policy.Reliability] != Policy.Reliability.BestEffort
                    self._published[endpoint.key] = Publication(endpoint.topic_name.removeprefix("rt"), kind, reliable)
        return set(self._published.values())

    def reader(self, topic: str, kind: str, *, reliable: bool = False) -> "Reader":
        """Read the newest message of a topic; `reliable`: of those publishers alone that send again what is lost."""
        from cyclonedds.core import Policy, Qos
        from cyclonedds.sub import DataReader

        qos = Qos(
            Policy.Reliability.Reliable(max_blocking_time=0) if reliable else Policy.Reliability.BestEffort,
            Policy.Durability.Volatile,
            Policy.History.KeepLast(1),
            Policy.DataRepresentation(use_cdrv0_representation=True),
            Policy.Userdata(f"typehash={HASHES[kind]};".encode()),
        )
        return Reader(DataReader(self._participant, self._topic(topic, kind), qos))

    def writer(self, topic: str, kind: str, *, latched: bool = False) -> "Writer":
        """Publish a topic reliably, the newest message only; `latched`: also to those who come later."""
        from cyclonedds.core import Policy, Qos
        from cyclonedds.pub import DataWriter

        qos = Qos(
            Policy.Reliability.Reliable(max_blocking_time=0),
            Policy.Durability.TransientLocal if latched else Policy.Durability.Volatile,
            Policy.History.KeepLast(1),
            Policy.DataRepresentation(use_cdrv0_representation=True),
            Policy.Userdata(f"typehash={HASHES[kind]};".encode()),
        )
        return Writer(DataWriter(self._participant, self._topic(topic, kind), qos), self._types[kind])

    def _topic(self, topic: str, kind: str) -> Any:
        from cyclonedds.topic import Topic

        return Topic(self._participant, f"rt{topic}", self._types[kind])

    def close(self) -> None:
        """Leave the domain, with all readers and writers."""
        self._participant.__del__()  # the way Cyclone DDS has; once more does nothing


def require(wrong: Wrong) -> None:
    """Tell at once, and not from a thread that tries again, what no attempt can change.

    Raises:
        TclEdgeError: Cyclone DDS is not installed; of the type that `wrong` makes.
    """
    try:
        import cyclonedds.core  # noqa: F401 - whether it is there
    except ImportError:
        raise wrong(
            'ros2: needs Cyclone DDS, which is not installed: `pip install "tcl-edge[ros]"` (on ARM see docs/ros.md)'
        ) from None


def join(domain: int, environment: Environment, wrong: Wrong) -> Participant:
    """Enter a ROS domain, as far as the environment lets ROS go.

    Raises:
        TclEdgeError: Cyclone DDS is not installed, or finds no network; of the type that `wrong` makes.
    """
    require(wrong)
    from cyclonedds.core import DDSException

    try:
        return Participant(domain, local=is_local(environment))
    except DDSException as error:
        local = "; ROS is to stay on this machine, so that it must choose no interface" * is_local(environment)
        raise wrong(
            f"the ROS domain {domain} cannot be entered ({error.msg}): is there a network, and is CYCLONEDDS_URI, "
            f"where it is set, right{local}?"
        ) from None


class Reader:
    """The newest message of a topic.

    Args:
        reader: Cyclone DDS's.
    """

    def __init__(self, reader: Any) -> None:
        from cyclonedds.core import GuardCondition, InstanceState, ReadCondition, SampleState, ViewState, WaitSet

        self._reader = reader
        self._woken = GuardCondition(reader.participant)
        self._waiting = WaitSet(reader.participant)
        self._waiting.attach(ReadCondition(reader, ViewState.Any | SampleState.NotRead | InstanceState.Any))
        self._waiting.attach(self._woken)

    def take(self, timeout_s: float) -> bytes | None:
        """Wait for a message; None if there was none in that time, or `wake` was called."""
        self._waiting.wait(int(timeout_s * 1e9))
        for sample in self._reader.take(1):
            if sample.sample_info.valid_data:  # otherwise a publisher has left
                payload: bytes = sample.payload
                return payload
        return None

    def wake(self) -> None:
        """Let `take` return, from another thread."""
        self._woken.set(True)


class Writer:
    """A topic that is published.

    Args:
        writer: Cyclone DDS's.
        kind: the type of its messages.
    """

    def __init__(self, writer: Any, kind: Any) -> None:
        self._writer, self._kind = writer, kind

    @property
    def heard(self) -> bool:
        """Whether somebody listens."""
        return bool(self._writer.get_publication_matched_status().current_count)

    def write(self, message: bytes) -> bool:
        """Publish a serialised message; who listens too slowly is never waited for.

        Returns:
            Whether it went out; if not, there is no room until what went out before has arrived.

        Raises:
            DDSException: it is refused.
        """
        from cyclonedds.core import DDSException

        try:
            self._writer.write(_sample(self._kind, message))
        except DDSException as error:
            if error.code == DDSException.DDS_RETCODE_TIMEOUT:
                return False
            raise
        return True
