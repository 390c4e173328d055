"""What a camera driver says about /dev/video*: its name, and whether the node gives pictures at all."""

import os
import struct
from dataclasses import dataclass
from pathlib import Path

QUERY = 0x80685600
"""VIDIOC_QUERYCAP of the Linux kernel's videodev2.h."""

LAYOUT = struct.Struct("16s32s32sIII12x")
"""Its answer: driver, card, bus, version, capabilities of the device, capabilities of this node."""

CAPTURE = 0x00000001 | 0x00001000
"""V4L2_CAP_VIDEO_CAPTURE and V4L2_CAP_VIDEO_CAPTURE_MPLANE."""

HAS_NODE = 0x80000000
"""V4L2_CAP_DEVICE_CAPS: the capabilities of the node are told apart from the device's."""


@dataclass(frozen=True)
class CameraDevice:
    """A video node.

    Attributes:
        driver: of the kernel: `uvcvideo` for USB cameras, `tegra-video` for CSI cameras of a Jetson.
        card: name of the device.
        captures: whether pictures come from it; a USB camera has a second node without any.
    """

    driver: str
    card: str
    captures: bool


def read_capability(answer: bytes) -> CameraDevice:
    """Read the kernel's answer to VIDIOC_QUERYCAP, 104 bytes."""
    driver, card, _, _, device, node = LAYOUT.unpack(answer)
    capabilities = node if device & HAS_NODE else device
    return CameraDevice(_text(driver), _text(card), bool(capabilities & CAPTURE))


def _text(field: bytes) -> str:
    return field.split(b"\0")[0].decode(errors="replace")


def query(path: Path) -> CameraDevice:
    """Ask a node what it is; works while another program uses it.

    Raises:
        OSError: no permission, or not a video node.
    """
    import fcntl  # not on Windows, which has no /dev

    node = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    try:
        return read_capability(fcntl.ioctl(node, QUERY, bytes(LAYOUT.size)))
    finally:
        os.close(node)
