"""Results as a recording of a robot: a bag of ROS 1, or of ROS 2 as MCAP."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runtime.atomic_file import free_partial, take_name
from runtime.errors import SinkError, SinkNameError, WriteError
from runtime.frame import BGR
from runtime.ros.dds import topic_of
from runtime.ros.message import (
    COMPRESSED,
    IMAGE,
    LABELS,
    SECOND,
    CompressedImage,
    Image,
    Labels,
    encode,
    mask_message,
)
from runtime.segmentation import Segmentation, encoded_picture
from runtime.sinks.output import Outputs
from runtime.sinks.ros2 import OVERLAY, WORDS, header_of
from runtime.sinks.sink import Sink, make_folder
from runtime.sources.source import Frame

FORM = "bag:out.mcap, bag:out.bag (ROS 1) or bag:out/ (a folder, of ROS 2), and ?topic=/segmentation"

VISION_MSGS = {
    "vision_msgs/msg/VisionClass": "uint16 class_id\nstring class_name\n",
    LABELS: "std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold\n",
}
"""Definitions that rosbags does not bring."""


class BagSink(Sink):
    """Three topics: class ids as mono8 or mono16, the overlay as JPEG, and which word each id means.

    Messages have the stamps of their pictures; where those have none, the time of the first plus the time of the frame.
    Words are written when they change. What is recorded until an error or a stop is whole, and stays `NAME.partial`.

    Args:
        sink: see `FORM`.
        outputs: where the file is claimed.

    Raises:
        SinkNameError: it is written in another way, or must not be written.
        SinkError: rosbags is not installed, or the place cannot be written.
    """

    def __init__(self, sink: str, outputs: Outputs) -> None:
        name, asked, topic = sink.removeprefix("bag:").rpartition("?topic=")
        self._path = Path(name if asked else topic)
        self._topic = topic_of(topic if asked else "/segmentation", SinkNameError)
        if not self._path.name or self._path.suffix not in {".mcap", ".bag", ""}:
            raise SinkNameError(f"sink {sink!r} given, expected {FORM}")
        if self._path.is_dir():
            raise SinkNameError(f"{self._path} exists, and a bag is a new folder: choose another name, or delete it")
        try:
            from rosbags.typesys import Stores, get_types_from_msg, get_typestore
        except ImportError:
            raise SinkError('bag: needs rosbags, which is not installed: `pip install "tcl-edge[ros]"`') from None
        outputs.claim(self._path)
        make_folder(self._path.parent)
        self._replaces = self._path.exists()
        self._ros1 = self._path.suffix == ".bag"
        self._store = get_typestore(Stores.ROS1_NOETIC if self._ros1 else Stores.ROS2_HUMBLE)
        for kind, definition in VISION_MSGS.items():
            self._store.register(get_types_from_msg(definition, kind))
        self._writer: Any = None
        self._growing = self._written = self._path
        self._connections: dict[str, Any] = {}
        self._words: tuple[str, ...] | None = None
        self._begin_ns = 0

    def write(self, result: Segmentation, frame: Frame, picture: BGR) -> None:
        """Record the result of a frame.

        Raises:
            WriteError: the system refused: disk full.
        """
        if self._writer is None:
            self._begin_ns = time.time_ns() - round(frame.time_s * SECOND)
            self._begin()
        nanoseconds = self._begin_ns + round(frame.time_s * SECOND)
        header = header_of(frame, nanoseconds)
        recorded_ns = max(header.nanoseconds, 0) or nanoseconds
        jpeg = encoded_picture(Path("overlay.jpg"), picture)
        with self._told():
            if result.names != self._words:
                self._words = result.names
                self._record(WORDS, Labels(header, result.names, result.threshold or 0.0), recorded_ns)
            self._record("", mask_message(header, result.mask), recorded_ns)
            self._record(
                f"{OVERLAY}/compressed", CompressedImage(header, "bgr8; jpeg compressed bgr8", jpeg), recorded_ns
            )

    def _begin(self) -> None:
        """Open the bag in a folder of its own: the writer of ROS 2 makes one, also for a single file."""
        self._growing = free_partial(self._path.with_suffix(".recording"))
        self._written = self._growing / (self._path.name if self._ros1 else self._path.stem)
        with self._told():
            self._growing.mkdir()
            try:
                self._writer = self._opened()
            except BaseException:
                shutil.rmtree(self._growing, ignore_errors=True)
                raise
        if not self._ros1 and self._path.suffix:
            self._written /= self._path.name

    def _opened(self) -> Any:
        writer: Any
        if self._ros1:
            from rosbags.rosbag1 import Writer as Writer1

            writer = Writer1(self._written)
            writer.set_compression(Writer1.CompressionFormat.LZ4)
        else:
            from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

            writer = Writer(self._written, version=8, storage_plugin=StoragePlugin.MCAP)
            writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        writer.open()
        for below, kind in (("", IMAGE), (f"{OVERLAY}/compressed", COMPRESSED), (WORDS, LABELS)):
            self._connections[below] = writer.add_connection(
                self._topic + below, kind, typestore=self._store, **self._promise(latched=below == WORDS)
            )
        return writer

    def _promise(self, *, latched: bool) -> dict[str, Any]:
        """Tell players that words are latched."""
        if not latched:
            return {}
        if self._ros1:
            return {"latching": 1}
        from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime

        never = QosTime(9223372036, 854775807)
        durability, reliability = QosDurability.TRANSIENT_LOCAL, QosReliability.RELIABLE
        automatic = QosLiveliness.AUTOMATIC
        qos = Qos(QosHistory.KEEP_LAST, 1, reliability, durability, never, never, automatic, never, False)
        return {"offered_qos_profiles": [qos]}

    def _record(self, below: str, message: Image | CompressedImage | Labels, recorded_ns: int) -> None:
        self._writer.write(self._connections[below], recorded_ns, encode(message, ros1=self._ros1))

    def close(self, *, complete: bool) -> None:
        """End the bag, and give it its name if all results are in it.

        Raises:
            WriteError: the system refused; what was recorded stays under the partial name.
        """
        writer, self._writer = self._writer, None
        if writer is None:
            return
        self.partial = self._written
        with self._told():
            writer.close()
        name = self._path if complete else free_partial(self._path)
        take_name(self._written, name, replace=complete and self._replaces)
        shutil.rmtree(self._growing, ignore_errors=True)
        self.partial = None if complete else name

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise WriteError(self._written, error.strerror or str(error)) from error
