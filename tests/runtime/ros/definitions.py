"""ROS's messages by other libraries: rosbags' types, and Cyclone DDS's classes of the same fields."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

typesys = pytest.importorskip("rosbags.typesys", reason="rosbags is not installed")
idl_types = pytest.importorskip("cyclonedds.idl.types", reason="cyclonedds is not installed")

from cyclonedds.idl import IdlStruct  # noqa: E402
from cyclonedds.idl.types import float32, int32, sequence, uint8, uint16, uint32  # noqa: E402

VISION_CLASS = "uint16 class_id\nstring class_name\n"
LABEL_INFO = "std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold\n"


def store() -> Any:
    """Types of ROS 2, and those of vision_msgs 4 as its files have them."""
    return _with_labels("ROS2_HUMBLE")


def ros1_store() -> Any:
    """Types of ROS 1, and the same."""
    return _with_labels("ROS1_NOETIC")


@cache
def _with_labels(name: str) -> Any:
    types = typesys.get_typestore(typesys.Stores[name])
    types.register(typesys.get_types_from_msg(VISION_CLASS, "vision_msgs/msg/VisionClass"))
    types.register(typesys.get_types_from_msg(LABEL_INFO, "vision_msgs/msg/LabelInfo"))
    return types


@dataclass
class Time(IdlStruct, typename="builtin_interfaces.msg.dds_.Time_"):
    sec: int32
    nanosec: uint32


@dataclass
class Header(IdlStruct, typename="std_msgs.msg.dds_.Header_"):
    stamp: Time
    frame_id: str


@dataclass
class Image(IdlStruct, typename="sensor_msgs.msg.dds_.Image_"):
    header: Header
    height: uint32
    width: uint32
    encoding: str
    is_bigendian: uint8
    step: uint32
    data: sequence[uint8]


@dataclass
class CompressedImage(IdlStruct, typename="sensor_msgs.msg.dds_.CompressedImage_"):
    header: Header
    format: str
    data: sequence[uint8]


@dataclass
class VisionClass(IdlStruct, typename="vision_msgs.msg.dds_.VisionClass_"):
    class_id: uint16
    class_name: str


@dataclass
class LabelInfo(IdlStruct, typename="vision_msgs.msg.dds_.LabelInfo_"):
    header: Header
    class_map: sequence[VisionClass]
    threshold: float32


def idl(kind: str, message: Any) -> Any:
    """The message of rosbags as one of Cyclone DDS."""
    header = Header(Time(message.header.stamp.sec, message.header.stamp.nanosec), message.header.frame_id)
    m = message
    if kind.endswith("/Image"):
        return Image(header, m.height, m.width, m.encoding, m.is_bigendian, m.step, m.data.tolist())
    if kind.endswith("/CompressedImage"):
        return CompressedImage(header, m.format, m.data.tolist())
    return LabelInfo(header, [VisionClass(word.class_id, word.class_name) for word in m.class_map], m.threshold)
