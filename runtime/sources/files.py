"""Every frame of a video: of a file, a pipe, standard input or a web server."""

import io
import os
import re
import shlex
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av import VideoFrame, VideoStream
from av.container import InputContainer
from av.sidedata.sidedata import SideDataContainer
from av.stream import Disposition
from av.video.reformatter import VideoReformatter

from runtime.cores import usable_cores
from runtime.errors import SourceError
from runtime.forking import has_threads
from runtime.frame import BGR, as_bgr
from runtime.sources.damage import Damage
from runtime.sources.http import HttpFile
from runtime.sources.source import Frame, Source

STANDARD_INPUT = Path("-")

MOST_THREADS = 4
"""Of a decoder. Each holds a frame; and the network needs the cores more."""

USUAL_STEP_S = 1 / 25
"""From a frame to the next, where neither times nor a rate are known."""


class VideoSource(Source):
    """Every frame of a video at the time that the file gives it, turned as a player shows it.

    What an edit list hides is left out. The number of frames is announced where the file has an index of them.

    Args:
        video: a file, a named pipe, `STANDARD_INPUT`, or what a web server has.
        container: where FFmpeg has opened it already; closed with the source.

    Raises:
        SourceError: it cannot be read, or holds no video that can be decoded.
    """

    def __init__(self, video: Path | HttpFile, container: InputContainer | None = None) -> None:
        super().__init__()
        self._path = video if isinstance(video, Path) and video != STANDARD_INPUT else None
        self._file: io.RawIOBase
        if isinstance(video, HttpFile):
            self._shown, self._file = video.address.shown, video
        else:
            self._shown = "standard input" if self._path is None else str(video)
            self._file = _open_file(self._path, self._shown)
        try:
            self._container = container or self._open_container()
            try:
                self._stream = decodable(self._container, self._shown)
                self._stream.codec_context.thread_count = min(usable_cores(), MOST_THREADS)
                self._stream.thread_type = "AUTO"
            except BaseException:
                self._container.close()
                raise
        except BaseException:
            self._file.close()
            raise
        self._reformatter = VideoReformatter()
        self._process = has_threads(self)
        self._stopped = False
        self._images: list[VideoFrame] = []  # the last ones: their memory is shared with the decoder's threads
        self.inputs = [] if self._path is None else [self._path]
        rate = self._stream.average_rate
        self.fps = float(rate) if rate is not None and 0 < rate <= 1000 else None
        if self._stream.frames > 0:  # otherwise the index may hold key frames only
            self.count = sum(entry.size > 0 and not entry.is_discard for entry in self._stream.index_entries) or None

    def _open_container(self) -> InputContainer:
        try:
            # Only this file: a playlist cannot name others, nor the network.
            return av.open(self._file, "r", options={"protocol_whitelist": "none"})
        except (av.error.FFmpegError, OSError) as error:
            raise SourceError(_unreadable(self._file, self._shown)) from error

    def __iter__(self) -> Iterator[Frame]:
        """Yield every frame that can be decoded, once: whoever stops before the end has closed the source.

        Raises:
            SourceError: at the end, if some are damaged or missing.
        """
        try:
            yield from self._frames()
        except SourceError:
            if not self._stopped:
                raise
        finally:
            self.close()

    def stop(self) -> None:
        """End the iteration where it waits for a web server."""
        if isinstance(self._file, HttpFile):
            self._stopped = True
            self._file.interrupt()

    def _frames(self) -> Iterator[Frame]:
        damage = Damage(self._stream, self._file)
        index, first_s, before_s = 0, 0.0, 0.0
        step_s = 1 / self.fps if self.fps else USUAL_STEP_S
        for image in self._decoded(damage):
            shown_s = image.time
            if index == 0:
                first_s = shown_s or 0.0
                time_s = 0.0
            elif shown_s is None or shown_s - first_s <= before_s:  # a raw stream, or joined from several
                time_s = before_s + step_s
            else:
                time_s = shown_s - first_s
            before_s = time_s
            yield Frame(self._as_shown(image), index, time_s, f"{index:06d}", self._path)
            index += 1
        if index == 0 and not self._file.seekable():
            raise SourceError(_unreadable(self._file, self._shown))
        found = damage.found(index)
        if found:
            raise SourceError(f"{self._shown} is damaged: {found}; copy or record it again")

    def _decoded(self, damage: Damage) -> Iterator[VideoFrame]:
        packets = self._container.demux(self._stream)
        while not damage.hopeless:
            try:
                packet = next(packets)
                damage.read(packet)
            except StopIteration:
                return
            except av.error.FFmpegError:
                damage.unreadable()
                packets = self._container.demux(self._stream)  # the one before ended with its error
                continue
            except OSError as error:
                raise SourceError(f"{self._shown} cannot be read any further ({error.strerror})") from error
            try:
                self._images = self._stream.decode(packet)
            except av.error.EOFError:  # the decoder was told of the end before
                continue
            except av.error.FFmpegError:
                damage.undecodable()
                continue
            for image in self._images:
                damage.decoded(image)
                yield image

    def _as_shown(self, image: VideoFrame) -> BGR:
        """Make BGR of a frame, turned and mirrored as its display matrix says, to the nearest quarter."""
        bgr = as_bgr(self._reformatter.reformat(image, format="bgr24").to_ndarray())
        try:
            # Not the frame's own: the two would hold each other, and the picture's memory with them.
            matrix = cast("Mapping[str, Any]", SideDataContainer(image)).get("DISPLAYMATRIX")  # type: ignore[call-arg]
        except ValueError:  # the frame has something beside it that PyAV does not know, and then tells its turn alone
            return np.ascontiguousarray(np.rot90(bgr, round(image.rotation / 90)))
        if matrix is None:
            return bgr
        a, b, _, c, d, *_ = np.frombuffer(matrix, np.int32).tolist()
        # A point (x, y) goes to (ax + cy, bx + dy).
        if max(abs(b), abs(c)) > max(abs(a), abs(d)):
            bgr, a, d = bgr.transpose(1, 0, 2), c, b
        return np.ascontiguousarray(bgr[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])

    def close(self) -> None:
        """Release the decoder and the file."""
        if os.getpid() != self._process:
            return
        self._container.close()
        self._file.close()


def _open_file(path: Path | None, shown: str) -> io.FileIO:
    """Open by Python: a name may be no UTF-8, or mean a protocol or a pattern to FFmpeg."""
    if path is None:
        if sys.stdin is None or sys.stdin.isatty():
            raise SourceError(
                "`-` is a video on standard input, and this is a terminal: `cat a.mkv | ...` pipes one in"
            )
        file = io.FileIO(os.dup(sys.stdin.fileno()))
    else:
        try:
            file = io.FileIO(path)
            about = os.fstat(file.fileno())
        except OSError as error:
            raise SourceError(f"video {shown} cannot be opened: {error.strerror}") from None
        if stat.S_ISREG(about.st_mode) and about.st_size == 0:
            file.close()
            raise SourceError(f"video {shown} is empty (0 bytes): copy or record it again")
    file.name = "video"  # PyAV hands it to FFmpeg, which would take endings for kinds; the content says it
    return file


def _unreadable(file: io.RawIOBase, shown: str) -> str:
    """Say what it is instead of a video."""
    if not file.seekable():
        return (
            f"{shown} is no video that FFmpeg can read in one go: an MP4 has to begin with its index, "
            "`ffmpeg -i a.mp4 -c copy -movflags faststart b.mp4`"
        )
    file.seek(0)
    head = file.read(1024) or b""
    if head[4:8] == b"ftyp":
        return (
            f"{shown} is damaged: an MP4 without its index at the end, so the recording or the copy was cut short; "
            "copy or record it again"
        )
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return f"{shown} is a web page or another text in angle brackets, no video: fetch the video itself"
    return f"{shown} is no video that FFmpeg can read: check it with `ffprobe {shlex.quote(shown)}`"


def decodable(container: InputContainer, shown: str) -> VideoStream:
    """Choose the stream of moving pictures.

    Raises:
        SourceError: there is none, or none that can be decoded.
    """
    moving = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not moving:
        others = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        raise SourceError(f"{shown} holds no video, but {others}: expected a file with moving pictures")
    best = container.streams.best("video")
    stream = best if isinstance(best, VideoStream) and best in moving else moving[0]
    # PyAV gives a stream that FFmpeg has no decoder for no context.
    if stream.codec_context is None:
        raise SourceError(
            f"{shown} is encoded as {_codec(container)}, which the installed FFmpeg (of PyAV {av.__version__}) cannot "
            f"decode. Convert it where it can be played: `ffmpeg -i {shlex.quote(shown)} -c:v libx264 converted.mp4`"
        )
    return stream


def _codec(container: InputContainer) -> str:
    """Ask FFmpeg for the name of a codec that it has no decoder for; it tells that in a log alone."""
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    try:
        told = re.search(r"Video: (\w+)(?: \((\w+))?", container.dumps_format())  # type: ignore[attr-defined] # it is there
    finally:
        av.logging.set_level(level)
    names = [name for name in told.groups() if name and name != "none"] if told else []
    return names[0] if names else "something unknown"
