"""Whether a video was there from its beginning to its end."""

import io

from av import Packet, VideoFrame, VideoStream

MOST_ERRORS_IN_A_ROW = 1000
"""After which a file is given up: what reads it does not get on."""

SLACK = 64
"""Bytes that old writers are wrong by."""


HIDES_FRAMES = {"vp8", "vp9"}
"""Codecs with packets that are never shown."""


class Damage:
    """What of a video could not be read or decoded.

    Counted against what a file says itself: the index of its packets, the times of its packets, and the number of bytes
    that its header tells.
    A length in seconds is no measure: sound may be longer than the pictures, and the last picture may stay.

    Attributes:
        hopeless: reading does not get on.

    Args:
        stream: whose packets are read.
        file: that they lie in.
    """

    def __init__(self, stream: VideoStream, file: io.RawIOBase) -> None:
        self._stream, self._file = stream, file
        self._packets = self._bad = self._in_a_row = 0
        self._begun = False
        self._awaited: set[int] = set()
        self._first_pts: int | None = None
        self._one_each = stream.codec_context.codec.canonical_name not in HIDES_FRAMES
        self._first_s: float | None = None
        self._now_s: float | None = None

    @property
    def hopeless(self) -> bool:
        """Whether errors do not end."""
        return self._in_a_row >= MOST_ERRORS_IN_A_ROW

    def read(self, packet: "Packet[VideoStream]") -> None:
        """Count a packet; the empty one at the end is none."""
        self._in_a_row = 0
        if packet.size:
            self._packets += 1
            self._begun |= packet.is_keyframe
            if packet.pts is not None:
                self._now_s = float(packet.pts * packet.time_base)
                if self._begun and not packet.is_discard:
                    self._awaited.add(packet.pts)

    def unreadable(self) -> None:
        """Count an error of the container."""
        self._in_a_row += 1
        self._count(True)

    def undecodable(self) -> None:
        """Count a packet that the decoder refused."""
        self._in_a_row += 1
        self._count(True)

    def decoded(self, image: VideoFrame) -> None:
        """Count a frame, which may be patched up where it could not be decoded."""
        self._count(image.is_corrupt)
        if image.pts is not None:
            self._awaited.discard(image.pts)
            self._first_pts = image.pts if self._first_pts is None else self._first_pts
        self._one_each &= not image.interlaced_frame  # a packet may be half a frame

    def _count(self, bad: bool) -> None:
        # A broadcast that is switched on begins in the middle: what comes before the first key frame is no damage.
        if bad and self._begun:
            self._bad += 1
            self._first_s = self._now_s if self._first_s is None else self._first_s

    def found(self, frames: int) -> str | None:
        """Say what is wrong after so many decoded frames; None if nothing is."""
        indexed = sum(entry.size > 0 for entry in self._stream.index_entries)
        size, announced = _sizes(self._file)
        if self._packets < indexed:
            return f"{self._packets} of {indexed} frames that it announces are there, {frames} could be decoded"
        if size < announced - SLACK:
            return f"it is cut short, {size} of {announced} bytes are there; {frames} frames could be decoded"
        if frames == 0:
            return "none of its frames could be decoded"
        # Frames before the first may need one that was cut off.
        missing = sum(pts > (self._first_pts or 0) for pts in self._awaited) if self._one_each else 0
        if self._bad or missing:
            where = "" if self._first_s is None else f", the first at {self._first_s:.2f} s"
            return f"{max(self._bad, missing)} of {self._packets} frames are broken or missing{where}"
        return None


def _sizes(file: io.RawIOBase) -> tuple[int, int]:
    """Give the size of a file, and the size that its header announces; 0 of what is not known."""
    if not file.seekable():
        return 0, 0
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    return size, announced_size(file.read(4096) or b"")


def announced_size(head: bytes) -> int:
    """Read how many bytes an AVI or Matroska file has, by its first bytes; 0 if they do not say."""
    if head[:4] == b"RIFF":
        size = int.from_bytes(head[4:8], "little")
        return 0 if size in (0, 0xFFFFFFFF) else size + 8
    if head[:4] == b"\x1a\x45\xdf\xa3":  # EBML, whose header is followed by one segment
        segment = head.find(b"\x18\x53\x80\x67")
        if segment < 0 or segment + 5 > len(head) or head[segment + 4] == 0:
            return 0
        length = 9 - head[segment + 4].bit_length()
        begin = segment + 4 + length
        unknown = (1 << 7 * length) - 1
        size = int.from_bytes(head[segment + 4 : begin], "big") & unknown
        return 0 if size == unknown else begin + size
    return 0
