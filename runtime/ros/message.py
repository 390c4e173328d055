"""The messages of robots' cameras and masks, and how they lie on the network: CDR as ROS 2 uses it.

Data of pictures are megabytes, so that they are taken and given as one piece. Bytes are what DDS and bags transport:

    sensor_msgs/Image             Header header, uint32 height, width, string encoding, uint8 is_bigendian, uint32 step,
                                  uint8[] data
    sensor_msgs/CompressedImage   Header header, string format, uint8[] data
    vision_msgs/LabelInfo         Header header, VisionClass[] class_map, float32 threshold
    vision_msgs/VisionClass       uint16 class_id, string class_name
    std_msgs/Header               Time stamp {int32 sec, uint32 nanosec}, string frame_id
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.errors import SourceError
from runtime.frame import BGR
from runtime.ros.encoding import Buffer, decode_image

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
LABELS = "vision_msgs/msg/LabelInfo"

LITTLE = b"\x00\x01\x00\x00"
"""Before a message: plain CDR, the lowest byte first, no options."""

SECOND = 1_000_000_000
"""In nanoseconds."""


@dataclass(frozen=True)
class Header:
    """When and where something was seen.

    Attributes:
        nanoseconds: since 1970, or since the robot's simulation began.
        frame_id: the coordinate frame.
    """

    nanoseconds: int = 0
    frame_id: str = ""


@dataclass(frozen=True, eq=False)
class Image:
    """A raw picture.

    Attributes:
        height, width: in pixels.
        encoding: see `runtime.ros.encoding.LAYOUTS`.
        big_endian: whether the upper byte of 16 bits comes first.
        step: bytes from row to row.
        data: `height * step` bytes.
    """

    header: Header
    height: int
    width: int
    encoding: str
    big_endian: bool
    step: int
    data: Buffer

    def picture(self) -> BGR:
        """Decode it: BGR (H,W,3) uint8, which may lie in the message.

        Raises:
            SourceError: it is no picture, or damaged.
        """
        return decode_image(
            height=self.height,
            width=self.width,
            encoding=self.encoding,
            big_endian=self.big_endian,
            step=self.step,
            data=self.data,
        )


@dataclass(frozen=True, eq=False)
class CompressedImage:
    """A picture as the bytes of a JPEG or PNG file."""

    header: Header
    format: str
    data: Buffer


@dataclass(frozen=True)
class Labels:
    """Which word each class id means.

    Attributes:
        names: the word of each id, from 0 on.
        threshold: that a pixel's class had to exceed.
    """

    header: Header
    names: Sequence[str]
    threshold: float = 0.0


def mask_message(header: Header, mask: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> Image:
    """Make an image message of class ids (H,W): mono8 of uint8, mono16 of uint16."""
    wide = mask.dtype != np.uint8
    values = np.ascontiguousarray(mask, "<u2" if wide else np.uint8).view(np.uint8)
    height, width = mask.shape
    return Image(header, height, width, "mono16" if wide else "mono8", False, width * (1 + wide), values.reshape(-1))


def bgr_message(header: Header, picture: BGR) -> Image:
    """Make an image message bgr8 of a picture (H,W,3)."""
    height, width = picture.shape[:2]
    return Image(header, height, width, "bgr8", False, width * 3, np.ascontiguousarray(picture).reshape(-1))


def encode(message: Image | CompressedImage | Labels, *, ros1: bool = False) -> bytes:
    """Serialise a message.

    Args:
        message: what to send.
        ros1: its fields as ROS 1 has them, one after the other; otherwise as CDR: four bytes that say so, then the
            fields, each aligned to its size, filled up to four.
    """
    writer = _Writer(aligned=not ros1)
    header = message.header
    if ros1:
        writer.numbers("I", 0)  # `seq`, which ROS 1 counts itself
    # ROS 1 counts beyond 2038 in the same four bytes.
    writer.numbers("II", header.nanoseconds // SECOND & 0xFFFFFFFF, header.nanoseconds % SECOND)
    writer.text(header.frame_id)
    if isinstance(message, Image):
        writer.numbers("II", message.height, message.width)
        writer.text(message.encoding)
        writer.numbers("B", int(message.big_endian))
        writer.numbers("I", message.step)
        writer.data(message.data)
    elif isinstance(message, CompressedImage):
        writer.text(message.format)
        writer.data(message.data)
    else:
        writer.numbers("I", len(message.names))
        for number, name in enumerate(message.names):
            writer.numbers("H", number)
            writer.text(name)
        writer.numbers("f", message.threshold)
    return writer.finished()


class _Writer:
    def __init__(self, *, aligned: bool) -> None:
        self._aligned = aligned
        self._parts: list[bytes | memoryview] = [LITTLE] if aligned else []
        self._size = 0  # without the four bytes, which do not count for the alignment

    def numbers(self, form: str, *values: float) -> None:
        """Append numbers that have the same size."""
        self._align(struct.calcsize(form[0]))
        self._append(struct.pack(f"<{form}", *values))

    def text(self, text: str) -> None:
        data = text.encode("utf-8", "backslashreplace").replace(b"\0", b"") + b"\0" * self._aligned
        self.numbers("I", len(data))
        self._append(data)

    def data(self, data: Buffer) -> None:
        self.numbers("I", len(data))
        self._append(data.data if isinstance(data, np.ndarray) else data)

    def finished(self) -> bytes:
        self._align(4)
        return b"".join(self._parts)

    def _align(self, size: int) -> None:
        if self._aligned:
            self._append(bytes(-self._size % size))

    def _append(self, part: bytes | memoryview) -> None:
        self._parts.append(part)
        self._size += len(part)


def decode_raw(data: bytes) -> Image:
    """Read a serialised `sensor_msgs/Image`; its data stay where they lie.

    Raises:
        SourceError: it is cut short, or none.
    """
    reader = _Reader(data, "an image message")
    header = reader.header()
    height, width = reader.numbers("II")
    encoding = reader.text()
    (big_endian,) = reader.numbers("B")
    (step,) = reader.numbers("I")
    return Image(header, height, width, encoding, bool(big_endian), step, reader.data())


def decode_packed(data: bytes) -> CompressedImage:
    """Read a serialised `sensor_msgs/CompressedImage`; its data stay where they lie.

    Raises:
        SourceError: it is cut short, or none.
    """
    reader = _Reader(data, "a compressed image message")
    return CompressedImage(reader.header(), reader.text(), reader.data())


class _Reader:
    def __init__(self, data: bytes, what: str) -> None:
        self._what = what
        if len(data) < 4 or data[0] != 0 or data[1] > 1:
            raise SourceError(
                f"{what} begins with {data[:4].hex() or 'nothing'}: expected plain CDR, 00000000 or 00010000"
            )
        self._order = "<" if data[1] else ">"
        self._data = memoryview(data)[4:]
        self._position = 0

    def header(self) -> Header:
        seconds, nanoseconds = self.numbers("i")[0], self.numbers("I")[0]
        return Header(seconds * SECOND + nanoseconds, self.text())

    def numbers(self, form: str) -> tuple[int, ...]:
        """Read numbers that have the same size."""
        self._position += -self._position % struct.calcsize(form[0])
        return struct.unpack(f"{self._order}{form}", self._taken(struct.calcsize(f"={form}")))

    def text(self) -> str:
        return bytes(self.data()).rstrip(b"\0").decode("utf-8", "replace")

    def data(self) -> memoryview:
        return self._taken(self.numbers("I")[0])

    def _taken(self, size: int) -> memoryview:
        taken = self._data[self._position : self._position + size]
        if len(taken) < size:
            raise SourceError(f"{self._what} is cut short: {len(self._data) + 4} bytes are there")
        self._position += size
        return taken
