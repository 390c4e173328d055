"""The pictures of an endless stream that FFmpeg has opened, as they come."""

import os
import threading
from collections import deque
from collections.abc import Callable

import av
from av import VideoFrame
from av.codec.context import Flags
from av.container import InputContainer
from av.video.reformatter import VideoReformatter

from runtime.cores import usable_cores
from runtime.errors import SourceError
from runtime.forking import has_threads
from runtime.frame import as_bgr
from runtime.sources.files import MOST_THREADS, decodable
from runtime.sources.live import Picture

OPTIONS = {"flags": "low_delay", "analyzeduration": "100000", "probesize": "500000"}
"""For opening one within a fifth of a second. What is read to find out about the stream is decoded, too (no
`nobuffer`): it holds the key frame that all up to the next one build upon."""


class PacketCapture:
    """Decodes what arrives, without waiting for what comes later. Sizes and pixel formats may change on the way.

    What cannot be decoded, or only patched up, is left out. Times of the stream do not matter: pictures count when they
    arrive.

    Args:
        container: opened, and closed with this.
        shown: its name in messages.
        returns: whether the end of the stream means that it is lost, not over.
        interrupt: wakes a read of the container from another thread.
        released: called when it is closed.

    Raises:
        SourceError: there is no video in it that can be decoded; the container is closed.
    """

    def __init__(
        self,
        container: InputContainer,
        shown: str,
        *,
        returns: bool = True,
        interrupt: Callable[[], None] = lambda: None,
        released: Callable[[], None] = lambda: None,
    ) -> None:
        self._container, self._shown, self._returns = container, shown, returns
        self._interrupt, self._released = interrupt, released
        self._reading = threading.Lock()
        self._closed = False
        self._process = has_threads(self)
        try:
            self._stream = decodable(container, shown)
        except BaseException:
            container.close()
            raise
        self._stream.codec_context.thread_count = min(usable_cores(), MOST_THREADS)
        self._stream.thread_type = "SLICE"  # threads for whole frames would each keep one back
        self._stream.codec_context.flags |= Flags.low_delay
        rate = self._stream.guessed_rate or self._stream.average_rate
        self.fps = float(rate) if rate else None
        self._reformatter = VideoReformatter()
        self._packets = container.demux(self._stream)
        self._images: deque[VideoFrame] = deque()
        self._broken = 0

    def read(self) -> Picture | None:
        """Wait for the next picture; None when the stream has ended well.

        Raises:
            SourceError: it is lost.
        """
        with self._reading, av.logging.Capture():  # what FFmpeg tells holds addresses with their passwords
            while not self._images:
                if self._closed:
                    raise SourceError(f"{self._shown} was closed")
                if not self._decode_next():
                    return None
            image = self._images.popleft()
            bgr = as_bgr(self._reformatter.reformat(image, format="bgr24").to_ndarray())
        broken, self._broken = self._broken, 0
        return Picture(bgr, broken=broken)

    def _decode_next(self) -> bool:
        """Read and decode one packet, and tell whether there was one."""
        lost = None
        try:
            packet = next(self._packets)
        except StopIteration:
            if not self._returns:
                return False
            lost = SourceError(f"{self._shown} has ended the stream: does the server still run?")
        except av.error.FFmpegError as error:
            lost = SourceError(f"{self._shown} was lost ({error.strerror})")
        if lost is not None:
            raise lost  # here, where the exception with the address has been left
        try:
            images = self._stream.decode(packet)
        except av.error.FFmpegError:
            self._broken += 1
            return True
        for image in images:
            if image.is_corrupt:
                self._broken += 1
            else:
                self._images.append(image)
        return True

    def close(self) -> None:
        """Let go, after what is being read; it is woken where that is possible."""
        self._closed = True
        if os.getpid() != self._process:
            return
        self._interrupt()
        with self._reading, av.logging.Capture():
            self._images.clear()
            self._container.close()
            self._released()
