"""A video with the words painted over it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av import VideoStream
from av.codec.context import Flags
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter

from runtime.atomic_file import GrowingFile
from runtime.errors import SinkError, SinkNameError, UsageError, WriteError
from runtime.forking import has_threads
from runtime.frame import BGR
from runtime.segmentation import Segmentation
from runtime.sinks.output import Outputs
from runtime.sinks.pieces import Pieces
from runtime.sinks.sink import Sink, make_folder
from runtime.sources.source import Frame


@dataclass(frozen=True)
class Format:
    """How a kind of video is written.

    Attributes:
        container, encoder: as FFmpeg calls them.
        settings: of the encoder.
        options: of the container.
    """

    container: str
    encoder: str
    settings: dict[str, str]
    options: dict[str, str] = field(default_factory=dict)


# No slower than OpenCV's MPEG-4, as many bytes, a better picture.
X264 = {"preset": "ultrafast", "crf": "20"}
VP9 = {"deadline": "realtime", "cpu-used": "8", "row-mt": "1", "crf": "28", "b": "0"}
# Where the process is killed, the second that is not written yet is lost; when it is finished it is an ordinary file.
FRAGMENTS = {"movflags": "hybrid_fragmented", "frag_duration": "1000000"}

SYNC_S = 1.0
"""How often what a camera sent, or a piece, is brought onto the disk: what a power cut takes on top of that second."""

FORMATS = {
    ".mp4": Format("mp4", "libx264", X264, FRAGMENTS),
    ".mov": Format("mov", "libx264", X264, FRAGMENTS),
    ".mkv": Format("matroska", "libx264", X264),
    ".webm": Format("webm", "libvpx-vp9", VP9),
}
VIDEOS = {*FORMATS, ".avi"}

USUAL_FPS = 25
"""Where a source has no rate."""

SHORTEST_PIECE_S = 1.0
"""Shorter ones would be a file for every few frames."""

TICK = Fraction(1, 90_000)
"""Seconds: what the times of frames are rounded to."""

LONGEST_SIDE = 16_384
"""Pixels that an encoder takes a side."""


class VideoSink(Sink):
    """A video with the overlay that browsers play: H.264 (in .webm VP9), 8 bits, 4:2:0, BT.709.

    Frames are shown at their own times (`Frame.time_s`), so that it lasts as long as the source did. A frame with the
    time of the one before is shown a tick later; where time goes back, it goes on from there. The last frame lasts
    as long as the source's rate says, or as the frame before. Colours have half the resolution, so that sides are even:
    at an odd one the last pixel is repeated.

    A recording may be in pieces (see `Pieces` for their names): each begins with the first frame that is `segment_s`
    later than the first of the piece before, or of another size; its times begin at 0, and the last frame of the one
    before lasts until then, so that the pieces together last as long as the source. A piece takes its name when the
    next begins. Where the process is killed, `NAME.partial.EXT` holds the last piece but for a second and two frames;
    where power is lost, but for a second more.

    Args:
        path: whose suffix says the format.
        fps: frames per second of the source, None if it has no rate.
        outputs: where the files are claimed.
        segment_s: seconds of a piece; None for one file.
        live: the source is a live one: where its frames change their size, a piece begins even without `segment_s`.

    Attributes:
        pieces: the files that were begun, in order.

    Raises:
        SinkNameError: the file must not be written, or its format holds no times.
        UsageError: pieces of less than a second.
        SinkError: this FFmpeg cannot encode the format.
    """

    def __init__(
        self, path: Path, fps: float | None, outputs: Outputs, *, segment_s: float | None = None, live: bool = False
    ) -> None:
        suffix = path.suffix.lower()
        if suffix == ".avi":
            raise SinkNameError(f"{path} given, and AVI knows no times of frames: name it .mp4, .mov, .mkv or .webm")
        self._format = FORMATS[suffix]
        if self._format.encoder not in av.codecs_available:
            raise SinkError(
                f"{path} needs the encoder {self._format.encoder}, and the installed PyAV has none: install it with "
                "`pip install --force-reinstall --only-binary=av av`, or write pictures (out/%06d.png)"
            )
        if segment_s is not None and segment_s < SHORTEST_PIECE_S:
            raise UsageError(f"pieces of {segment_s:g} s given for {path}, expected at least {SHORTEST_PIECE_S:g} s")
        self._names = Pieces(path, outputs, segmented=segment_s is not None, live=live)
        make_folder(path.parent)
        self._path = path
        self._fps = fps if fps and fps > 0 else None
        self._clock = Clock(self._fps)
        self._segment = None if segment_s is None else segment_s / TICK
        self._writing: _Writing | None = None
        self._begun = 0
        self.pieces: list[Path] = []

    def write(self, result: Segmentation, frame: Frame, picture: BGR) -> None:
        """Append a frame.

        Raises:
            SinkError: it is of another size than the first, and the source has an end and is not cut into pieces.
            WriteError: the system refused what is written: disk full.
        """
        size_wh = (picture.shape[1], picture.shape[0])
        place, lasts = self._clock.place(frame.time_s)
        if self._writing is not None and self._ends_before(frame.name, size_wh, place):
            self._finish(complete=True, end=place - self._begun)
        if self._writing is None:
            if max(size_wh) > LONGEST_SIDE:
                raise SinkError(
                    f"{self._path}: frames of {size_wh[0]} x {size_wh[1]} given, a video takes {LONGEST_SIDE} pixels "
                    "a side: write pictures (out/%06d.png)"
                )
            self._begun = place
            self.pieces.append(self._names.next())
            self._writing = _Writing(self.pieces[-1], self._format, size_wh, self._fps, holds=self._names.more)
        self._writing.add(picture, place - self._begun, lasts)

    def _ends_before(self, name: str, size_wh: tuple[int, int], place: int) -> bool:
        """Tell whether a frame begins another piece."""
        assert self._writing is not None
        if size_wh != self._writing.size_wh and not self._names.more:
            began_wh = self._writing.size_wh
            raise SinkError(
                f"frame {name} is {size_wh[0]} x {size_wh[1]}, the video {self._path} began with "
                f"{began_wh[0]} x {began_wh[1]}: write pictures of mixed sizes to a folder"
            )
        late = self._segment is not None and place - self._begun >= self._segment
        return late or size_wh != self._writing.size_wh

    def close(self, *, complete: bool) -> None:
        """Finish the file, or the last piece, and give it its name, if every frame is in it.

        Raises:
            WriteError: its end cannot be written; what there is stays under the partial name.
        """
        if self._writing is not None:
            self._finish(complete=complete)

    def _finish(self, *, complete: bool, end: int | None = None) -> None:
        writing, self._writing = self._writing, None
        assert writing is not None
        self.partial = writing.partial  # whatever happens now
        self.partial = writing.finish(complete=complete, end=end)


class _Writing:
    """A video that grows.

    Attributes:
        partial: where.

    Args:
        path: of the video when it is complete.
        kind: container, encoder and their options.
        size_wh: (width, height) of the frames.
        fps: None if there is no rate.
        holds: the last frame is kept back until it is known how long it lasts; and power cuts are thought of.
    """

    def __init__(
        self, path: Path, kind: Format, size_wh: tuple[int, int], fps: float | None, *, holds: bool = False
    ) -> None:
        self.size_wh = size_wh
        self._odd_wh = size_wh[0] % 2, size_wh[1] % 2
        self._holds = holds
        self._held: av.Packet[VideoStream] | None = None
        self._frames = 0
        self._failed = False
        self._reformatter = VideoReformatter()
        self._process = has_threads(self)
        self._grown = GrowingFile(path, sync_s=SYNC_S if holds else None)
        self.partial = self._grown.partial
        with self._told():
            # The open file, not its name, which may be no UTF-8 or mean something to FFmpeg.
            self._container = av.open(self._grown.file, "w", format=kind.container, options=kind.options)
            rate = Fraction(fps or USUAL_FPS).limit_denominator(100_000)
            stream = self._container.add_stream(kind.encoder, rate=rate, options=kind.settings)
            assert isinstance(stream, VideoStream)
            self._stream = stream
            self._stream.width, self._stream.height = size_wh[0] + self._odd_wh[0], size_wh[1] + self._odd_wh[1]
            self._stream.pix_fmt = "yuv420p"
            context = self._stream.codec_context
            context.time_base = self._stream.time_base = TICK
            context.flags |= Flags.frame_duration
            context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
            context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709

    def add(self, picture: BGR, place: int, lasts: int) -> None:
        """Append a frame, with its time and how long it lasts if it is the last, in ticks."""
        if any(self._odd_wh):
            picture = np.pad(picture, ((0, self._odd_wh[1]), (0, self._odd_wh[0]), (0, 0)), mode="edge")
        image = av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(picture), format="bgr24")
        image = self._reformatter.reformat(
            image, format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        image.pts, image.duration = place, lasts
        image.time_base = TICK
        with self._told():
            self._mux(self._stream.encode(image))
            self._grown.file.flush()  # a full disk is told at the frame that meets it
        self._frames += 1

    def _mux(self, packets: "list[av.Packet[VideoStream]]") -> None:
        for packet in packets:
            if self._held is not None:
                self._container.mux(self._held)
            self._held = packet
        if not self._holds:
            self._mux_held()

    def _mux_held(self) -> None:
        if self._held is not None:
            self._container.mux(self._held)
            self._held = None

    def finish(self, *, complete: bool, end: int | None = None) -> Path | None:
        """Write what is left and close.

        Args:
            complete: it takes its name.
            end: when the last frame ends, in ticks; None for when it said that it would.

        Returns:
            The file that stays partial, if one does.

        Raises:
            WriteError: the system refused, and had not before.
        """
        if os.getpid() != self._process:  # a forked child has the file open, too, but not the encoder's threads
            return None
        told = self._failed  # by an error that is on its way already
        try:
            with self._told():
                self._mux(self._stream.encode(None))
                if self._held is not None and end is not None and self._held.pts is not None:
                    self._held.duration = end - self._held.pts
                self._mux_held()
                self._container.close()
        except WriteError:
            with suppress(OSError, av.error.FFmpegError):
                self._container.close()
            with suppress(WriteError):
                self._grown.close(complete=False)
            if not told:
                raise
        if not self._frames:
            self._grown.discard()
            return None
        return self._grown.close(complete=complete) if not self._failed else self.partial

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (OSError, av.error.FFmpegError) as error:
            self._failed = True
            raise WriteError(self.partial, error.strerror or str(error)) from error


class Clock:
    """From the times of a source's frames to those of a video: never equal, never backwards.

    Args:
        fps: frames per second of the source, None if it has no rate.
    """

    def __init__(self, fps: float | None) -> None:
        self._usual = round(1 / (fps or USUAL_FPS) / TICK)
        self._keeps_rate = fps is not None
        self._shift_s = 0.0
        self._before_s: float | None = None
        self._before = -1

    def place(self, time_s: float) -> tuple[int, int]:
        """Give the next frame its time and how long it lasts if it is the last, both in ticks."""
        if self._before_s is None:
            self._shift_s = -time_s
        elif time_s < self._before_s:
            self._shift_s += self._before_s - time_s + float(self._usual * TICK)
        place = max(round((time_s + self._shift_s) / TICK), self._before + 1)
        if self._before >= 0 and not self._keeps_rate:
            self._usual = place - self._before
        self._before_s, self._before = time_s, place
        return place, self._usual
