"""Whatever lies behind `http(s)://`: a file, a list of pieces, or a stream without end. What it is, it says itself."""

from collections.abc import Callable

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

OpenPiece = Callable[[str, int, dict[str, str]], HttpFile]
"""Opens for FFmpeg what a list names, by its address; flags and options do not matter."""


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
    options = {
        **OPTIONS,
        "protocol_whitelist": "http,https,tcp,tls",
        "http_persistent": "0",  # connections are ours, which FFmpeg cannot keep
        "extension_picky": "0",  # which keeps lists from naming local files; here nothing is opened but from the web
        "allowed_segment_extensions": "ALL",
        "live_start_index": "-2",
    }
    container = _open_container(file, options, _piece_of(file))
    if container.duration is not None:
        return VideoSource(file, container)
    return PacketCapture(container, file.address.shown, returns=False, interrupt=file.interrupt, released=file.close)


def _piece_of(file: HttpFile) -> OpenPiece:
    def open_piece(url: str, flags: int, options: dict[str, str]) -> HttpFile:
        if url.startswith(("crypto", "data:")):
            raise SourceError(f"{file.address.shown} is encrypted, which is not supported: expected plain HLS")
        return file.beside(url)

    return open_piece


def _open_container(file: HttpFile, options: dict[str, str], open_piece: OpenPiece | None = None) -> InputContainer:
    problem = None
    try:
        return av.open(file, "r", format=None if open_piece is None else "hls", options=options, io_open=open_piece)
    except av.error.FFmpegError as error:
        problem = error.strerror
    raise SourceError(
        f"{file.address.shown} is no video that FFmpeg can read ({problem}): expected a video, HLS or MJPEG"
    )
