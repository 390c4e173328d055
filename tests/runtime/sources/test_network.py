"""Streams behind HTTP. Oracles: pictures that the test sends; the file that HLS was cut from."""

import itertools
import threading
from collections.abc import Iterator, Sequence
from fractions import Fraction
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from time import monotonic, sleep

import av
import cv2
import numpy as np
import pytest

from runtime.errors import SourceError
from runtime.sources import mjpeg
from runtime.sources.address import Address
from runtime.sources.files import VideoSource
from runtime.sources.live import LiveSource, Patience
from runtime.sources.network import open_http
from runtime.sources.open import SHIPPED_CLIP, open_source
from runtime.sources.source import Source

from .web_server import Page, Web, says, sends

QUICK = Patience(stale=0.3, lost=0.5, first=5.0, retry=0.02)


def jpeg(number: int, size: tuple[int, int] = (48, 64)) -> bytes:
    return cv2.imencode(".jpg", np.full((*size, 3), 10 * number, np.uint8))[1].tobytes()


def number_of(image: np.ndarray) -> int:
    return round(float(image.mean()) / 10)


NOISE = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))[1].tobytes()


class Camera:
    """Sends parts as the test hands them out; they stay apart in time, as a camera's do."""

    def __init__(self, boundary: str = "frame", named: str | None = None, length: bool = True) -> None:
        self.boundary, self.named, self.length = boundary, named or boundary, length
        self.visits = 0
        self._parts: list[bytes | None] = []
        self._changed = threading.Condition()

    def send(self, *parts: bytes | None) -> None:
        """Send pictures, or end the connection."""
        with self._changed:
            self._parts += parts
            self._changed.notify_all()

    def part(self, data: bytes, length: int | None = None) -> bytes:
        told = f"Content-Length: {len(data) if length is None else length}\r\n" if self.length else ""
        return f"--{self.boundary}\r\nContent-Type: image/jpeg\r\n{told}\r\n".encode() + data + b"\r\n"

    def __call__(self, request: BaseHTTPRequestHandler) -> None:
        self.visits += 1
        request.send_response(200)
        request.send_header("Content-Type", f'multipart/x-mixed-replace; boundary="{self.named}"')
        request.end_headers()
        request.close_connection = True
        while True:
            with self._changed:
                if not self._changed.wait_for(lambda: self._parts, 10):
                    return
                part = self._parts.pop(0)
            if part is None:
                return
            request.wfile.write(part)


def images(source: Source, count: int) -> list[np.ndarray]:
    frames = source.frames(0.1)
    got: list[np.ndarray] = []
    deadline_s = monotonic() + 10
    while len(got) < count and monotonic() < deadline_s:
        frame = next(frames)
        got += [] if frame is None else [frame.image]
    return got


@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize(("boundary", "named"), [("frame", "frame"), ("My-Cam", "--My-Cam")])
def test_a_picture_is_there_with_its_last_byte(boundary: str, named: str, length: bool, web: Web) -> None:
    """The next is only sent when the one before has arrived."""
    web.pages["/cam"] = camera = Camera(boundary, named, length)
    camera.send(camera.part(jpeg(1)))
    with open_source(f"{web.root}/cam") as source:
        assert isinstance(source, LiveSource)
        for number in range(2, 5):
            assert [number_of(image) for image in images(source, 1)] == [number - 1]
            camera.send(camera.part(jpeg(number, (48, 64) if number % 2 else (50, 30))))
        assert images(source, 1)[0].shape == (50, 30, 3)
        assert (source.dropped, source.broken, camera.visits) == (0, 0, 1)


@pytest.mark.parametrize("length", [True, False])
def test_pictures_that_are_cut_short_are_left_out_and_counted(length: bool, web: Web) -> None:
    web.pages["/cam"] = camera = Camera(length=length)
    whole = camera.part(jpeg(7))
    camera.send(
        camera.part(NOISE[:1500], len(NOISE)),  # its length would take in the next
        camera.part(b""),
        camera.part(b"no picture"),
        camera.part(b"\xff\xd8no picture\xff\xd9"),
        whole,
    )
    with open_source(f"{web.root}/cam") as source:
        assert [number_of(image) for image in images(source, 1)] == [7]
        assert source.broken == 4


def test_a_camera_that_ends_its_stream_is_asked_again(web: Web) -> None:
    web.pages["/cam"] = camera = Camera()
    camera.send(camera.part(jpeg(1)))
    with open_http(Address.of(f"{web.root}/cam"), patience=QUICK) as source:
        assert len(images(source, 1)) == 1
        camera.send(None, camera.part(jpeg(2)))
        assert [number_of(image) for image in images(source, 1)] == [2]
        assert isinstance(source, LiveSource)
        assert "has ended the stream" in str(source.problem)
        deadline_s = monotonic() + 5
        while source.reconnects == 0 and monotonic() < deadline_s:
            sleep(0.01)
    assert (camera.visits, source.reconnects) == (2, 1)


def test_a_camera_that_hangs_is_asked_again_and_its_thread_ends(web: Web) -> None:
    web.pages["/cam"] = camera = Camera()
    camera.send(camera.part(jpeg(1)))
    threads = set(threading.enumerate())
    with open_http(Address.of(f"{web.root}/cam"), patience=QUICK) as source:
        states = set()
        deadline_s = monotonic() + 10
        while camera.visits < 2 and monotonic() < deadline_s:
            states.add(source.state)
            sleep(0.01)
        camera.send(*[camera.part(jpeg(2))] * 2)  # the first request takes one of them
        images(source, 1)
        assert {"live", "stale", "reconnecting"} <= states
    deadline_s = monotonic() + 10
    while left := [thread for thread in set(threading.enumerate()) - threads if "127.0.0.1" in thread.name]:
        assert monotonic() < deadline_s, left
        sleep(0.01)


def test_what_is_no_mjpeg_is_told(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    web.pages["/none"] = says(200, {"Content-Type": "multipart/x-mixed-replace"}, b"--a\r\n\r\n")
    with pytest.raises(SourceError, match="without a boundary"):
        open_source(f"{web.root}/none")
    monkeypatch.setattr(mjpeg, "LARGEST", 1 << 16)
    web.pages["/much"] = says(200, {"Content-Type": "multipart/mixed; boundary=a"}, b"--a\r\n" + bytes(1 << 18))
    with pytest.raises(SourceError, match="without a picture: is it MJPEG"):
        open_source(f"{web.root}/much")


def test_without_waiting_a_camera_may_come_later(web: Web) -> None:
    with open_http(Address.of(f"{web.root}/cam"), patience=QUICK, wait=False) as source:
        assert source.state == "reconnecting"
        web.pages["/cam"] = camera = Camera()
        camera.send(camera.part(jpeg(3)))
        assert [number_of(image) for image in images(source, 1)] == [3]


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped clip in pieces of a picture group each, which begin every 12 frames."""
    folder = tmp_path_factory.mktemp("hls")
    options = {"hls_time": "0.5", "hls_list_size": "0", "hls_segment_filename": str(folder / "%d.ts")}
    with (
        av.open(str(SHIPPED_CLIP)) as clip,
        av.open(str(folder / "list.m3u8"), "w", format="hls", options=options) as hls,
    ):
        stream = hls.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 192, 108, "yuv420p"
        stream.codec_context.gop_size = 12
        stream.options = {"preset": "ultrafast", "tune": "zerolatency"}
        for number, frame in enumerate(clip.decode(video=0)):
            if number == 72:
                break
            small = frame.reformat(192, 108, "yuv420p")
            small.pts, small.time_base = number, Fraction(1, 25)
            hls.mux(stream.encode(small))
        hls.mux(stream.encode(None))
    return folder


def hang_out(pieces: Path, web: Web, names: Sequence[str] | None = None) -> list[str]:
    """Put the pieces on the server; the list's lines are given back."""
    for path in pieces.iterdir():
        if names is None or path.name in names:
            web.pages[f"/{path.name}"] = sends(path.read_bytes(), ranges=False, kind="application/octet-stream")
    return (pieces / "list.m3u8").read_text().splitlines()


def test_finished_hls_is_a_video_with_an_end(pieces: Path, web: Web) -> None:
    hang_out(pieces, web)
    with open_source(f"{web.root}/list.m3u8?token=secret") as source:
        assert isinstance(source, VideoSource)
        frames = list(source)
    assert (source.ends, source.live, len(frames)) == (True, False, 72)
    expected = [
        frame.to_ndarray(format="bgr24")
        for path in sorted(pieces.glob("*.ts"), key=lambda path: int(path.stem))
        for frame in av.open(str(path)).decode(video=0)
    ]
    assert all(np.array_equal(frame.image, image) for frame, image in zip(frames, expected, strict=True))
    assert [frame.time_s for frame in frames] == pytest.approx([number / 25 for number in range(72)], abs=1e-3)


def test_a_missing_piece_is_no_silent_gap(pieces: Path, web: Web) -> None:
    hang_out(pieces, web)
    del web.pages["/3.ts"]
    with open_source(f"{web.root}/list.m3u8") as source, pytest.raises(SourceError, match=r"3\.ts is not there"):
        list(source)


def test_a_list_leads_nowhere_but_to_the_web(pieces: Path, web: Web) -> None:
    for uri in (f"file://{pieces}/0.ts", f"{pieces}/0.ts", f"concat:{pieces}/0.ts", "ftp://127.0.0.1/0.ts"):
        text = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{uri}\n#EXT-X-ENDLIST\n"
        web.pages["/list.m3u8"] = says(200, {}, text.encode())
        with (
            pytest.raises(SourceError, match="leads to|is not there|can read") as found,
            open_source(f"{web.root}/list.m3u8") as source,
        ):
            list(source)
        assert "secret" not in str(found.value)


def test_encrypted_pieces_are_refused_by_name(pieces: Path, web: Web) -> None:
    lines = hang_out(pieces, web)
    web.pages["/list.m3u8"] = says(
        200, {}, "\n".join([lines[0], '#EXT-X-KEY:METHOD=AES-128,URI="key"', *lines[1:]]).encode()
    )
    web.pages["/key"] = says(200, {}, bytes(16))
    with pytest.raises(SourceError, match="is encrypted, which is not supported"):
        open_source(f"{web.root}/list.m3u8")


def growing(lines: list[str], pages: Web) -> Page:
    """A list that shows three pieces, and one further each time it is asked for; then that it is over."""
    pieces = [line for line in lines if line.endswith(".ts")]
    asked = [0]

    def page(request: BaseHTTPRequestHandler) -> None:
        first = min(asked[0], len(pieces) - 3)
        asked[0] += 1
        shown = [f"#EXTINF:0.48,\n{name}" for name in pieces[first : first + 3]]
        over = ["#EXT-X-ENDLIST"] if asked[0] > len(pieces) else []
        text = "\n".join(["#EXTM3U", "#EXT-X-TARGETDURATION:1", f"#EXT-X-MEDIA-SEQUENCE:{first}", *shown, *over, ""])
        says(200, {}, text.encode())(request)

    return page


def test_hls_that_goes_on_is_live_and_ends_when_it_says_so(pieces: Path, web: Web) -> None:
    web.pages["/live.m3u8"] = growing(hang_out(pieces, web), web)
    with open_http(Address.of(f"{web.root}/live.m3u8")) as source:
        assert isinstance(source, LiveSource)
        states = set()
        seen = 0
        for frame in source.frames(0.1):
            seen += frame is not None
            states.add(source.state)
            assert seen + source.dropped <= 72
    assert source.state == "ended"
    assert source.reconnects == 0
    assert seen + source.dropped >= 12


@pytest.fixture
def endless(web: Web) -> Iterator[Web]:
    """An MPEG transport stream without a length, 25 pictures a second, whose times jump forward and back by hours."""
    stop = threading.Event()

    def page(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        request.close_connection = True
        for begin in itertools.cycle([0, 25 * 3600 * 5, 25 * 60]):
            with av.open(request.wfile, "w", format="mpegts") as container:
                stream = container.add_stream("mpeg2video", rate=25)
                stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
                stream.codec_context.gop_size = 5
                for number in range(15):
                    image = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 10 * number, np.uint8), format="bgr24")
                    image.pts, image.time_base = begin + number, Fraction(1, 25)
                    container.mux(stream.encode(image))
                    request.wfile.flush()
                    if stop.wait(0.04):
                        return

    web.pages["/ts"] = page
    yield web
    stop.set()


def test_a_stream_without_a_length_is_live_and_its_times_do_not_matter(endless: Web) -> None:
    with open_source(f"{endless.root}/ts") as source:
        assert isinstance(source, LiveSource)
        assert [image.shape for image in images(source, 50)] == [(48, 64, 3)] * 50
        assert source.reconnects == 0
