"""Whatever lies behind `http(s)://`: a file, a list of pieces, or a stream without end. What it is, it says itself."""

import av
from av.container import InputContainer

from runtime.errors import SourceError
from runtime.sources.address import Address
from runtime.sources.files import VideoSource
from runtime.sources.http import HttpFile
from runtime.sources.live import PATIENCE, Capture, LiveSource, Patience
from runtime.sources.mjpeg import MjpegCapture, is_multipart
from runtime.sources.packets import OPTIONS, PacketCapture
from runtime.sources.refusal import web_page
from runtime.sources.source import Source


def open_http(address: Address, *, patience: Patience = PATIENCE, wait: bool = True) -> Source:
    """Open what a web server has: all frames of a video with an end, the newest of a stream without one.

    Args:
        address: with or without a password, for the Basic or Digest method.
        patience: of a live source.
        wait: see `LiveSource`; without, a server that is not there is taken for one that will send without end.

    Raises:
        SourceError: it cannot be had, or is no video.
    """
    found: VideoSource | Capture | None = None
    try:
        found = _open(address)
    except SourceError:
        if wait:
            raise
    if isinstance(found, VideoSource):
        return found
    first = [] if found is None else [found]
    return LiveSource(
        address.shown, lambda: first.pop() if first else _open_live(address), patience=patience, wait=wait
    )


def _open_live(address: Address) -> Capture:
    found = _open(address)
    if isinstance(found, VideoSource):
        found.close()
        raise SourceError(f"{address.shown} is a video with an end: begin again, now that it is there")
    return found


def _open(address: Address) -> VideoSource | Capture:
    file = HttpFile(address)
    try:
        if is_multipart(file):
            return MjpegCapture(file)
        head = file.peek(1024).lstrip(b"\xef\xbb\xbf \t\r\n")
        if file.content_type.startswith("text/html") or head[:9].lower().startswith((b"<!doctype", b"<html")):
            raise web_page(address)
        if head.startswith(b"#EXTM3U"):
            return _open_list(file)
        if file.size is not None:
            return VideoSource(file)
        container = _open_container(file, {**OPTIONS, "protocol_whitelist": "none"})
        if container.duration is not None:
            return VideoSource(file, container)
        return PacketCapture(container, address.shown, interrupt=file.interrupt, released=file.close)
    except BaseException:
        file.close()
        raise


def _open_list(file: HttpFile) -> VideoSource | Capture:
    """Open the pieces that a list names (HLS): of an endless one, from near its end on."""
    pieces = Pieces(file)
    options = {
        **OPTIONS,
        "protocol_whitelist": "http,https,tcp,tls",
        "http_persistent": "0",  # connections are ours, which FFmpeg cannot keep
        "extension_picky": "0",  # which keeps lists from naming local files; here nothing is opened but from the web
        "allowed_segment_extensions": "ALL",
        "live_start_index": "-2",
    }
    container = _open_container(file, options, pieces)
    if container.duration is not None:
        return VideoSource(file, container)
    return PacketCapture(container, file.address.shown, returns=False, interrupt=pieces.interrupt, released=file.close)


class Pieces:
    """Opens for FFmpeg what a list names, and nothing but from web servers.

    Args:
        file: the list.
    """

    def __init__(self, file: HttpFile) -> None:
        self._file = file
        self._open: list[HttpFile] = []
        self._given_up = False

    def __call__(self, url: str, flags: int, options: dict[str, str]) -> HttpFile:
        """Open a piece, or another list.

        Raises:
            SourceError: it is not to be had.
        """
        if self._given_up:
            raise SourceError(f"{self._file.address.shown} was closed")
        if url.startswith(("crypto", "data:")):
            raise SourceError(f"{self._file.address.shown} is encrypted, which is not supported: expected plain HLS")
        piece = self._file.beside(url)
        self._open = [*(other for other in self._open if not other.closed), piece]
        if self._given_up:
            piece.interrupt()
        return piece

    def interrupt(self) -> None:
        """Wake whoever waits for one, from another thread."""
        self._given_up = True
        for piece in self._open:
            piece.interrupt()


def _open_container(file: HttpFile, options: dict[str, str], pieces: Pieces | None = None) -> InputContainer:
    problem = None
    try:
        return av.open(file, "r", format=None if pieces is None else "hls", options=options, io_open=pieces)
    except av.error.FFmpegError as error:
        problem = error.strerror
    raise SourceError(
        f"{file.address.shown} is no video that FFmpeg can read ({problem}): expected a video, HLS or MJPEG"
    )
