"""JPEG pictures that a web server sends without end, as cameras do (`multipart/x-mixed-replace`)."""

import re
import threading

import cv2
import numpy as np

from runtime.errors import SourceError
from runtime.frame import BGR, as_bgr
from runtime.sources.http import HttpFile
from runtime.sources.live import Picture

LARGEST = 1 << 26
"""Bytes of a picture with its head. Whoever sends more without an end sends no pictures."""

BEGIN, END = b"\xff\xd8", b"\xff\xd9"


def is_multipart(file: HttpFile) -> bool:
    """Whether a server sends pictures without end."""
    return file.content_type.startswith("multipart/")


class MjpegCapture:
    """Reads one picture after the other; those that are cut short or cannot be decoded are left out.

    A picture is there with its last byte: the beginning of the next is not waited for, whether lengths are told or not.

    Args:
        file: open; closed with this.

    Raises:
        SourceError: the server does not say what lies between two pictures.
    """

    fps: float | None = None

    def __init__(self, file: HttpFile) -> None:
        self._file = file
        given = re.search(r"boundary=\"?([^\";]+)", file.content_type)
        if given is None:
            raise SourceError(f"{file.address.shown} sends parts without a boundary: expected MJPEG")
        # Some cameras put the two strokes of each line into the name as well; capitals were lost in the header's type.
        self._line = re.compile(rb"--" + re.escape(given[1].strip().removeprefix("--").encode()), re.IGNORECASE)
        self._buffer = bytearray()
        self._reading = threading.Lock()

    def read(self) -> Picture:
        """Wait for the next picture.

        Raises:
            SourceError: it is lost.
        """
        with self._reading:
            broken = 0
            while True:
                image = decoded(self._next_part())
                if image is not None:
                    return Picture(image, broken=broken)
                broken += 1

    def _next_part(self) -> bytes:
        """Take the next part off the buffer: what lies behind its head, up to its end."""
        head, length = self._head()
        seen = head
        while True:
            if length is not None and len(self._buffer) >= head + length:
                # A picture that was cut short would take the beginning of the next.
                line = self._line.search(self._buffer, head, head + length)
                return self._take(head, head + length if line is None else line.start())
            line = self._line.search(self._buffer, max(head, seen - 200))
            if line is not None:
                return self._take(head, line.start())
            if length is None and bytes(self._buffer[-4:]).rstrip(b"\r\n").endswith(END):
                return self._take(head, len(self._buffer))
            seen = len(self._buffer)
            self._more()

    def _head(self) -> tuple[int, int | None]:
        """Find the end of the next part's head, and the length that it tells."""
        while True:
            line = self._line.search(self._buffer)
            end = None if line is None else re.compile(rb"\r?\n\r?\n").search(self._buffer, line.end())
            if line is not None and end is not None:
                told = re.search(rb"content-length:\s*(\d+)", self._buffer[line.end() : end.start()], re.IGNORECASE)
                return end.end(), None if told is None else int(told[1])
            self._more()

    def _take(self, begin: int, end: int) -> bytes:
        part = bytes(self._buffer[begin:end])
        del self._buffer[:end]
        return part

    def _more(self) -> None:
        if len(self._buffer) > LARGEST:
            raise SourceError(f"{self._file.address.shown} sends {LARGEST >> 20} MiB without a picture: is it MJPEG?")
        data = self._file.read(1 << 16)
        if not data:
            raise SourceError(f"{self._file.address.shown} has ended the stream: does the server still run?")
        self._buffer += data

    def close(self) -> None:
        """Wake who reads, and let the connection go."""
        self._file.interrupt()
        with self._reading:
            self._file.close()


def decoded(part: bytes) -> BGR | None:
    """Decode a JPEG picture; None if it is none, or was cut short."""
    begin, end = part.find(BEGIN), part.rfind(END)
    if begin < 0 or end < begin:
        return None
    try:
        image = cv2.imdecode(np.frombuffer(part, np.uint8, end + 2 - begin, begin), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return None if image is None else as_bgr(image)
