"""The recording of a robot: a ROS 1 bag, a ROS 2 bag (SQLite or MCAP), every picture of one of its topics."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runtime.errors import SourceError, SourceNotFoundError
from runtime.ros.message import COMPRESSED, IMAGE, SECOND, CompressedImage, Header, Image
from runtime.sources.robot_picture import picture_of
from runtime.sources.source import Frame, Source, Stamp

FORM = "bag:FILE?topic=/camera/image_raw, of a .bag, .mcap or .db3 file or a folder with metadata.yaml"

SUFFIXES = {".bag", ".mcap", ".db3"}

REPAIRS = {
    "Bag is not indexed": "rosbag reindex {}",
    "Bag index looks damaged": "rosbag reindex {}",
    "File end magic is invalid": "mcap recover {} -o recovered.mcap",
}
"""Tools of ROS 1 and of MCAP that make an index, by what rosbags says of a recording that broke off."""

MOST_BAD = 10
"""Messages without a picture at the beginning, after which there will be none."""

MOST_TOLD = 20
"""Topics that a message lists."""


def split_bag(source: str) -> tuple[Path, str | None]:
    """Take `bag:FILE?topic=/camera` apart: the file or folder, and the topic if one is given."""
    path, asked, topic = source.removeprefix("bag:").rpartition("?topic=")
    return (Path(path), topic) if asked else (Path(topic), None)


def bag_inputs(source: str) -> list[Path]:
    """List the files and folders that a bag given as text consists of."""
    path = split_bag(source)[0]
    return [path, *(sorted(path.iterdir()) if path.is_dir() else [])] if path.exists() else []


class BagSource(Source):
    """Every picture of a topic, raw or compressed, in the order of the recording.

    A frame's time is that of its message's stamp, as long as stamps are there and grow; from a frame whose stamp does
    not, the time goes on as the recording did. A message that is no picture is left out and reported.

    Args:
        source: see `FORM`. Without a topic, the only one with pictures.

    Raises:
        SourceNotFoundError: no such file, or no such topic.
        SourceError: rosbags is not installed, it cannot be read, or holds no pictures.
    """

    def __init__(self, source: str) -> None:
        super().__init__()
        self._path, topic = split_bag(source)
        self._reader = _open(self._path)
        try:
            self._topic = self._choose(topic)
        except BaseException:
            self._reader.close()
            raise
        self._connections = [one for one in self._reader.connections if one.topic == self._topic]
        self._kind = self._connections[0].msgtype
        self.count = sum(one.msgcount for one in self._connections) or None
        self.inputs = bag_inputs(source)
        self._closed = False

    def _choose(self, wanted: str | None) -> str:
        with _told(self._path):
            topics: dict[str, Any] = {f"/{name.lstrip('/')}": info for name, info in self._reader.topics.items()}
            names: dict[str, str] = {f"/{name.lstrip('/')}": name for name in self._reader.topics}
        pictures = {name: info for name, info in topics.items() if info.msgtype in (IMAGE, COMPRESSED)}
        if wanted is not None:
            topic = f"/{wanted.lstrip('/')}"
            if topic not in topics:
                raise SourceNotFoundError(
                    f"{self._path} has no topic {topic}; with pictures there {_listed(pictures) or 'is none'}"
                )
            if topic not in pictures:
                raise SourceError(
                    f"{topic} of {self._path} has messages {topics[topic].msgtype}, expected {IMAGE} or {COMPRESSED}; "
                    f"with pictures there {_listed(pictures) or 'is none'}"
                )
            return names[topic]
        if not pictures:
            raise SourceError(f"{self._path} has no topic with pictures, but {_listed(topics) or 'nothing at all'}")
        if len(pictures) > 1:
            raise SourceNotFoundError(
                f"{self._path} has {len(pictures)} topics with pictures: choose one as bag:{self._path}?topic="
                f"{next(iter(pictures))}; there {_listed(pictures)}"
            )
        return names[next(iter(pictures))]

    def __iter__(self) -> Iterator[Frame]:
        """Yield every picture, once: whoever stops before the end has closed the source.

        Raises:
            SourceError: the bag is damaged from here on, messages are missing, or none of them is a picture.
        """
        try:
            yield from self._frames()
        finally:
            self.close()

    def _frames(self) -> Iterator[Frame]:
        index = messages = 0
        time_s = 0.0
        before: tuple[int, int] | None = None
        first_error = ""
        for recorded, data in self._messages():
            messages += 1
            try:
                message = self._message(data)
                picture = picture_of(message)
            except SourceError as error:
                first_error = first_error or f"message {messages} of {self._topic}: {error}"
                if index == 0 and messages == MOST_BAD:
                    break
                continue
            stamp = message.header
            if before is not None:
                grown = stamp.nanoseconds - before[0] if before[0] and stamp.nanoseconds else 0
                time_s += (grown if grown > 0 else max(recorded - before[1], 0)) / SECOND
            before = stamp.nanoseconds, recorded
            yield Frame(
                picture, index, time_s, f"{index:06d}", self._path, stamp=Stamp(stamp.nanoseconds, stamp.frame_id)
            )
            index += 1
        if index == 0:
            raise SourceError(f"{self._path} has no picture: {first_error or f'{self._topic} has no messages'}")
        if messages > index:
            self.problems.append(f"{messages - index} of {messages} messages are no pictures: {first_error}")
        if self.count is not None and messages < self.count:
            raise SourceError(
                f"{self._path} is damaged: {messages} of {self.count} messages are there; record it again"
            )

    def _messages(self) -> Iterator[tuple[int, bytes]]:
        messages = self._reader.messages(self._connections)
        while True:
            with _told(self._path):
                found = next(messages, None)
            if found is None:
                return
            _, recorded, data = found
            yield recorded, data

    def _message(self, data: bytes) -> Image | CompressedImage:
        with _told(self._path):
            message: Any = self._reader.deserialize(data, self._kind)
            stamp = message.header.stamp
            header = Header(stamp.sec * SECOND + stamp.nanosec, message.header.frame_id)
            if self._kind == COMPRESSED:
                return CompressedImage(header, message.format, message.data)
            return Image(
                header,
                message.height,
                message.width,
                message.encoding,
                bool(message.is_bigendian),
                message.step,
                message.data,
            )

    def close(self) -> None:
        """Close the bag."""
        if not self._closed:
            self._closed = True
            self._reader.close()


def _listed(topics: Mapping[str, Any]) -> str:
    told = [f"{name} ({info.msgtype}, {info.msgcount} messages)" for name, info in sorted(topics.items())]
    return (
        ("are " if len(told) > 1 else "is ") * bool(told)
        + ", ".join(told[:MOST_TOLD])
        + ", …" * (len(told) > MOST_TOLD)
    )


def _open(path: Path) -> Any:
    if not path.exists():
        raise SourceNotFoundError(f"bag {str(path)!r} does not exist: expected {FORM}")
    if path.is_dir() and not (path / "metadata.yaml").exists():
        raise SourceNotFoundError(
            f"folder {path} has no metadata.yaml, so it is no bag: expected {FORM}; `ros2 bag reindex {path}` makes it "
            "of the files of a recording that broke off"
        )
    if path.is_file() and path.suffix not in SUFFIXES:
        raise SourceNotFoundError(f"{path} has not the name of a bag: expected {FORM}")
    try:
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore
    except ImportError:
        raise SourceError('bag: needs rosbags, which is not installed: `pip install "tcl-edge[ros]"`') from None
    with _told(path):
        # Older bags in SQLite do not say what their messages look like; images are the same in every ROS 2.
        reader = AnyReader([path], default_typestore=get_typestore(Stores.ROS2_HUMBLE))
        reader.open()
    return reader


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Tell what a damaged file does to its reader, which may fail at any place and in any way."""
    try:
        yield
    except Exception as error:
        said = str(error.args[0] if error.args else error) or "its index and its content contradict each other"
        repair = next((tool for sign, tool in REPAIRS.items() if sign in said), "")
        advice = f"`{repair.format(path)}` makes one of what is there" if repair else "copy or record it again"
        broken = "has no index, as if its recording broke off" if repair else "cannot be read, or not from here on"
        raise SourceError(f"bag {path} {broken} ({said}): {advice}") from error
