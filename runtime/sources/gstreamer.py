"""GStreamer pipelines, and a Jetson's own cameras, which come through one: in a process of its own.

OpenCV of the package index has no GStreamer, and a pipeline that hangs in a driver takes nothing with it but itself.
What comes out of it is in the GStreamer data protocol, which tells sizes, and tells them again when they change.
Pictures are I420: at 1920 x 1080 both processes together take a sixth less time than for BGR, and the pipe half of it.
"""

import contextlib
import io
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections import deque
from urllib.parse import parse_qsl, urlsplit

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import Colorspace, VideoReformatter

from runtime.errors import SourceError, SourceNotFoundError
from runtime.frame import BGR, LONGEST_SIDE, as_bgr
from runtime.sources.address import HIDDEN, redacted
from runtime.sources.live import PATIENCE, LiveSource, Patience, Picture

LAUNCH = "gst-launch-1.0"

# Colours of one kind, which is that of most cameras above 576 lines: nothing is converted for those.
OUTPUT = ["!", "videoconvert", "!", "video/x-raw,format=I420,colorimetry=bt709", "!", "gdppay", "!", "fdsink"]

HEAD_BYTES, BUFFER, CAPS = 62, 1, 2
"""Of a packet of the data protocol, version 1.0, and two kinds of it; all others are of no concern here."""

PACKAGES = {
    "nvarguscamerasrc": "nvidia-l4t-gstreamer (JetPack; not there elsewhere)",
    "nvvidconv": "nvidia-l4t-gstreamer (JetPack; not there elsewhere)",
    "gdppay": "gstreamer1.0-plugins-bad",
    "videoconvert": "gstreamer1.0-plugins-base",
    "v4l2src": "gstreamer1.0-plugins-good",
    "rtspsrc": "gstreamer1.0-plugins-good",
    "jpegdec": "gstreamer1.0-plugins-good",
    "h264parse": "gstreamer1.0-plugins-bad",
    "libcamerasrc": "gstreamer1.0-libcamera",
}
"""Debian's and JetPack's names of what has an element, where a pipeline for a camera is likely to need it."""

CSI = {"width": 1920, "height": 1080, "fps": 30, "flip": 0}
"""What `csi://` takes, and what it is otherwise."""

ENDING_S = 1.0
"""For a pipeline to let the camera go, before it is killed."""

PIPE_BYTES = 1 << 20
"""As much as any user of Linux may have: fewer turns for each picture."""

_SECRET = re.compile(r"(?i)\b([\w-]*(?:pw|passw|passphrase|secret|token)[\w-]*\s*=\s*)(\"[^\"]*\"|'[^']*'|[^\s!]+)")


def open_gstreamer(source: str, *, patience: Patience = PATIENCE, wait: bool = True) -> LiveSource:
    """Run a pipeline, and again whenever it fails or hangs.

    Args:
        source: `gst:PIPELINE`, without a sink at its end, as for `gst-launch-1.0`; or
            `csi://0?width=1920&height=1080&fps=30&flip=0`.
        patience: see `LiveSource`.
        wait: see `LiveSource`.

    Raises:
        SourceNotFoundError: it is none.
        SourceError: it cannot run, or sends nothing.
    """
    kind, _, text = source.partition(":")
    pipeline = _csi(source) if kind.lower() == "csi" else _pipeline(text)
    name = _without_secrets(source)
    return LiveSource(name, lambda: GstreamerCapture(pipeline, name), patience=patience, wait=wait)


def _pipeline(text: str) -> list[str]:
    try:
        words = shlex.split(text)
    except ValueError:
        raise SourceNotFoundError(f"pipeline {_without_secrets(text)!r} has a quotation mark without another") from None
    if not words:
        raise SourceNotFoundError("the pipeline is empty: expected something like gst:'v4l2src ! jpegdec'")
    last = next((words[i + 1] for i in range(len(words) - 2, -1, -1) if words[i] == "!"), words[0])
    if last.endswith("sink"):
        raise SourceNotFoundError(
            f"the pipeline ends with {last!r}: leave it out, pictures are taken from what comes before"
        )
    return words


def _csi(source: str) -> list[str]:
    parts = urlsplit(source)
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    wrong = [name for name, value in given.items() if name not in CSI or not (value.isascii() and value.isdigit())]
    if not parts.netloc.isdigit() or parts.path not in ("", "/") or wrong:
        raise SourceNotFoundError(f"{source!r} given, expected csi://0?width=1920&height=1080&fps=30&flip=0")
    width, height, fps, flip = (int(given.get(name, usual)) for name, usual in CSI.items())
    if flip > 7 or not 0 < fps <= 1000 or not (0 < width <= LONGEST_SIDE and 0 < height <= LONGEST_SIDE):
        raise SourceNotFoundError(
            f"{source!r} given, expected 1 to {LONGEST_SIDE} pixels, 1 to 1000 fps, and a flip of 0 to 7 (nvvidconv's)"
        )
    caps = f"video/x-raw(memory:NVMM),format=NV12,width={width},height={height},framerate={fps}/1"
    camera = ["nvarguscamerasrc", f"sensor-id={int(parts.netloc)}", "!", caps]
    return [*camera, "!", "nvvidconv", f"flip-method={flip}", "!", "video/x-raw,format=I420"]


def _without_secrets(text: str) -> str:
    return _SECRET.sub(rf"\g<1>{HIDDEN}", redacted(text))


class GstreamerCapture:
    """A pipeline that runs in a process group of its own.

    Args:
        pipeline: words for `gst-launch-1.0`, up to raw video.
        shown: its name in messages.

    Raises:
        SourceError: `gst-launch-1.0` is not installed.
    """

    fps: float | None = None

    def __init__(self, pipeline: list[str], shown: str) -> None:
        launch = shutil.which(LAUNCH)
        if launch is None:
            raise SourceError(f"{shown} needs {LAUNCH}, which is not installed: `apt install gstreamer1.0-tools`")
        self._shown = shown
        self._size = (0, 0)
        self._told: deque[str] = deque(maxlen=12)
        self._reformatter = VideoReformatter()
        self._reading = threading.Lock()
        self._closed = False
        reading, writing = os.pipe()
        try:
            _widen(reading)
            self._process = subprocess.Popen(
                [*_guard(), launch, "-q", *pipeline, *OUTPUT, f"fd={writing}", "sync=false"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[writing],
                start_new_session=True,
                env={**os.environ, "LC_ALL": "C.UTF-8"},  # its messages are read below
            )
        except OSError as error:
            os.close(reading)
            raise SourceError(f"{shown}: {launch} cannot be started ({error.strerror})") from None
        finally:
            os.close(writing)
        self._frames = io.BufferedReader(io.FileIO(reading), 1 << 16)
        self._listener = threading.Thread(target=self._listen, name=f"{shown}, messages", daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in iter(lambda: lines.readline(4096), b""):
                if line.strip():
                    self._told.append(_without_secrets(line.decode(errors="replace").strip()))

    def read(self) -> Picture | None:
        """Wait for the next picture; None when the pipeline has come to its end.

        Raises:
            SourceError: it failed.
        """
        with self._reading:
            while True:
                head = b"" if self._closed else self._frames.read(HEAD_BYTES)
                if len(head) < HEAD_BYTES:
                    self._check_end()
                    return None
                kind, size = int.from_bytes(head[4:6], "big"), int.from_bytes(head[6:10], "big")
                if head[0] != 1 or size > 3 * LONGEST_SIDE**2:
                    raise SourceError(f"{self._shown} sent something else than pictures: {head[:16]!r}")
                content = np.empty(size, np.uint8)
                if self._frames.readinto(content.data) < size:
                    self._check_end()
                    return None
                if kind == CAPS:
                    self._size = self._size_in(bytes(content))
                elif kind == BUFFER:
                    return Picture(self._bgr(content))

    def _size_in(self, caps: bytes) -> tuple[int, int]:
        """Read (height, width)."""
        told = [re.search(rb"\b" + name + rb"=\(int\)(\d+)", caps) for name in (b"height", b"width")]
        height, width = (0 if number is None else int(number[1]) for number in told)
        if not (0 < width <= LONGEST_SIDE and 0 < height <= LONGEST_SIDE):
            raise SourceError(
                f"{self._shown} sends pictures of {width} x {height} pixels: expected 1 to {LONGEST_SIDE} a side"
            )
        return height, width

    def _bgr(self, planes: npt.NDArray[np.uint8]) -> BGR:
        """Make BGR (H,W,3) of brightness and twice a quarter of colours, in rows of multiples of 4 bytes."""
        height, width = self._size
        tall, wide = height + height % 2, width + width % 2
        bright, coloured = -(-width // 4) * 4, -(-wide // 8) * 4  # bytes of a row
        if planes.size != tall * (bright + coloured):
            raise SourceError(f"{self._shown} sent {planes.size} bytes for a picture of {width} x {height} pixels")
        if (bright, coloured) != (wide, wide // 2):
            split = tall * bright
            rows = (
                planes[:split].reshape(tall, bright)[:, :wide],
                planes[split:].reshape(tall, coloured)[:, : wide // 2],
            )
            planes = np.concatenate([part.reshape(-1) for part in rows])
        image = av.VideoFrame.from_ndarray(planes.reshape(tall * 3 // 2, wide), format="yuv420p")
        bgr = self._reformatter.reformat(image, format="bgr24", src_colorspace=Colorspace.ITU709).to_ndarray()
        return as_bgr(np.ascontiguousarray(bgr[:height, :width]))

    def _check_end(self) -> None:
        """See why there is nothing more.

        Raises:
            SourceError: it did not come to its end.
        """
        if self._closed:
            raise SourceError(f"{self._shown} was closed")
        try:
            status = self._process.wait(ENDING_S)
        except subprocess.TimeoutExpired:
            status = None
        self._listener.join(ENDING_S)
        if status == 0:
            return
        told = " / ".join(self._told)
        missing = re.search(r"no element \"([^\"]+)\"", told)
        if missing is not None:
            package = PACKAGES.get(missing[1])
            way = (
                f"it is in the package {package}"
                if package
                else f"`apt-file search {missing[1]}` or its maker tells where"
            )
            raise SourceError(f"{self._shown}: GStreamer has no element {missing[1]!r} here: {way}")
        if "could not link" in told:
            raise SourceError(
                f"{self._shown} does not fit together: expected raw video at its end: decode it there, and leave "
                f"the sink out ({told})"
            )
        how = (
            "was ended by signal " + str(-status)
            if status is not None and status < 0
            else f"ended with status {status}"
        )
        raise SourceError(f"{self._shown}: {LAUNCH} {how}; try the pipeline by itself. It told: {told or 'nothing'}")

    def close(self) -> None:
        """End the pipeline, killed if need be; who reads is woken by that."""
        self._closed = True
        for number in (signal.SIGINT, signal.SIGKILL):
            if self._process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(ENDING_S)
                break
        with self._reading:
            self._frames.close()
        self._listener.join(ENDING_S)


def _widen(pipe: int) -> None:
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):  # the user has used up what all pipes may hold together
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _guard() -> list[str]:
    """Let the system kill the pipeline when this process is killed. Otherwise it ends at the next picture."""
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    return [] if setpriv is None else [setpriv, "--pdeathsig", "KILL", "--"]
