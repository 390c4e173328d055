"""Messages as bytes. Oracles: rosbags' serialisation by ROS's own definitions, and Cyclone DDS's by IDL."""

import struct
from typing import Any

import numpy as np
import pytest

from runtime.errors import SourceError
from runtime.ros.dds import HASHES
from runtime.ros.message import (
    COMPRESSED,
    IMAGE,
    LABELS,
    CompressedImage,
    Header,
    Image,
    Labels,
    bgr_message,
    decode_packed,
    decode_raw,
    encode,
    mask_message,
)
from tests.runtime.ros.definitions import idl, ros1_store, store

HEADER = Header(1_700_000_000_123_456_789, "camera_optical_frame")
ROWS = np.arange(2 * 3 * 3, dtype=np.uint8)


def ros(message: Image | CompressedImage | Labels, of: Any = None) -> tuple[Any, str]:
    """The same message of rosbags' classes."""
    types = (of or store()).types
    seconds, nanoseconds = divmod(message.header.nanoseconds, 1_000_000_000)
    time = types["builtin_interfaces/msg/Time"](seconds, nanoseconds)
    sequence = {} if of is None else {"seq": 0}
    header = types["std_msgs/msg/Header"](**sequence, stamp=time, frame_id=message.header.frame_id)
    if isinstance(message, Labels):
        words = [types["vision_msgs/msg/VisionClass"](number, name) for number, name in enumerate(message.names)]
        return types[LABELS](header, words, message.threshold), LABELS
    data = np.frombuffer(message.data, np.uint8)
    if isinstance(message, CompressedImage):
        return types[COMPRESSED](header, message.format, data), COMPRESSED
    m = message
    return types[IMAGE](header, m.height, m.width, m.encoding, int(m.big_endian), m.step, data), IMAGE


MESSAGES = {
    "image": Image(HEADER, 2, 3, "bgr8", False, 9, ROWS),
    "image of other lengths": Image(Header(5, ""), 1, 1, "mono16", True, 2, bytes([1, 2])),
    "mask": mask_message(HEADER, np.array([[0, 1, 2], [2, 1, 0]], np.uint8)),
    "wide mask": mask_message(HEADER, np.array([[0, 300, 2]], np.uint16)),
    "overlay": bgr_message(HEADER, ROWS.reshape(2, 3, 3)),
    "compressed": CompressedImage(Header(0, "é"), "jpeg", b"\xff\xd8\xff"),
    "labels": Labels(HEADER, ["background", "sofa", "Straße"], 0.25),
    "no labels": Labels(Header(), [], 0.0),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_the_bytes_are_those_of_ros(name: str) -> None:
    """But for the zeros that fill up the last four bytes."""
    data = encode(MESSAGES[name])
    expected = bytes(store().serialize_cdr(*ros(MESSAGES[name])))
    assert data == expected + bytes(-len(expected) % 4)


@pytest.mark.parametrize("kind", [IMAGE, COMPRESSED, LABELS])
def test_the_hashes_are_those_of_ros(kind: str) -> None:
    assert HASHES[kind] == store().hash_rihs01(kind)


@pytest.mark.parametrize("name", MESSAGES)
def test_the_bytes_are_those_of_ros_1(name: str) -> None:
    message, kind = ros(MESSAGES[name], ros1_store())
    assert encode(MESSAGES[name], ros1=True) == bytes(ros1_store().serialize_ros1(message, kind))


@pytest.mark.parametrize("name", MESSAGES)
def test_the_bytes_are_those_of_dds(name: str) -> None:
    message, kind = ros(MESSAGES[name])
    described = idl(kind, message)
    assert described.serialize(use_version_2=False) == bytes(store().serialize_cdr(message, kind))
    assert type(described).deserialize(encode(MESSAGES[name])) == described


def fields(message: Image | CompressedImage) -> dict[str, Any]:
    return {**vars(message), "data": bytes(message.data)}


@pytest.mark.parametrize("little", [True, False])
@pytest.mark.parametrize("name", ["image", "image of other lengths", "mask", "wide mask", "overlay", "compressed"])
def test_what_ros_wrote_is_read(name: str, little: bool) -> None:
    message, kind = ros(MESSAGES[name])
    data = bytes(store().serialize_cdr(message, kind, little_endian=little))
    read = decode_raw(data) if kind == IMAGE else decode_packed(data)
    assert fields(read) == fields(MESSAGES[name])  # type: ignore[arg-type] # none of labels


def test_a_picture_is_read_where_it_lies() -> None:
    data = encode(MESSAGES["image"])
    picture = decode_raw(data).picture()
    assert np.shares_memory(picture, np.frombuffer(data, np.uint8))
    np.testing.assert_array_equal(picture, ROWS.reshape(2, 3, 3))


@pytest.mark.parametrize("read", [decode_raw, decode_packed])
def test_a_message_that_is_cut_short_is_told(read: Any) -> None:
    """At every length."""
    whole = encode(MESSAGES["image"] if read is decode_raw else MESSAGES["compressed"])
    for length in range(len(whole) - 3):
        with pytest.raises(SourceError, match="is cut short|expected plain CDR"):
            read(whole[:length])


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\7\0\0" + bytes(60), b"\1\1\0\0" + bytes(60)])
def test_what_is_no_plain_cdr_is_told(data: bytes) -> None:
    with pytest.raises(SourceError, match="expected plain CDR"):
        decode_raw(data)


def test_lengths_of_four_gigabytes_are_no_memory() -> None:
    data = bytearray(encode(MESSAGES["image"]))
    data[-20 - 4 : -20] = struct.pack("<I", 2**32 - 1)
    with pytest.raises(SourceError, match="cut short"):
        decode_raw(bytes(data))


def test_random_bytes_raise_nothing_else() -> None:
    random = np.random.default_rng(4)
    whole = np.frombuffer(encode(MESSAGES["image"]), np.uint8)
    for _ in range(500):
        data = whole.copy()
        data[random.integers(4, len(data), 3)] = random.integers(0, 256, 3)
        try:
            decode_raw(data.tobytes()).picture()
        except SourceError:
            continue


def test_a_stamp_of_ros_1_after_2038() -> None:
    late = encode(Labels(Header(3_000_000_000 * 10**9 + 7), []))
    assert struct.unpack_from("<II", late, 4) == (3_000_000_000, 7)
