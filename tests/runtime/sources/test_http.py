"""Files behind HTTP. Oracles: the same files read locally; a server on loopback that says what it was asked."""

import base64
import hashlib
import re
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic

import numpy as np
import pytest

from runtime.errors import SourceError
from runtime.sources import http
from runtime.sources.address import Address
from runtime.sources.files import VideoSource
from runtime.sources.http import HttpFile
from runtime.sources.open import SHIPPED_CLIP, open_source

from .web_server import Page, Web, says, sends

CLIP = SHIPPED_CLIP.read_bytes()
DATA = np.random.default_rng(0).bytes(1 << 20)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_video_from_the_web_is_the_same_as_from_the_disk(ranges: bool, web: Web) -> None:
    web.pages["/cars.mp4"] = sends(CLIP, ranges=ranges)
    with open_source(f"{web.root}/cars.mp4?token=secret") as source, VideoSource(SHIPPED_CLIP) as local:
        assert isinstance(source, VideoSource)
        assert (source.live, source.ends, source.count, source.fps) == (False, True, 120, 12.5)
        for frame, expected in zip(source, local, strict=True):
            assert frame.time_s == expected.time_s
            assert frame.path is None
            if frame.index % 20 == 0:
                assert np.array_equal(frame.image, expected.image)
    assert source.problems == []


def test_any_place_of_a_file_can_be_read(web: Web) -> None:
    web.pages["/a"] = sends(DATA)
    with HttpFile(Address.of(f"{web.root}/a")) as file:
        assert file.peek(100) == DATA[:100]
        assert file.read(10) == DATA[:10]
        for place in (50, 95, 5000, 900_000, 900_010, 7, len(DATA) - 3):
            assert file.seek(place) == file.tell() == place
            assert file.read(3) == DATA[place : place + 3]
        assert file.read(3) == b""
        file.seek(0)
        assert file.read() == DATA
    assert len(web.asked) == 5  # a place nearby is reached by reading on


def test_a_download_that_breaks_off_goes_on(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "PAUSE_S", 0.01)
    web.pages["/a"] = sends(DATA, cut=300_000)
    with HttpFile(Address.of(f"{web.root}/a")) as file:
        assert file.read() == DATA
    assert len(web.asked) == 4


def test_a_file_that_changes_on_the_way_is_not_put_together(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "PAUSE_S", 0.01)
    web.pages["/a"] = sends(DATA, cut=300_000)
    with HttpFile(Address.of(f"{web.root}/a")) as file:
        file.read(10)
        web.pages["/a"] = says(200, {"ETag": '"b"'}, b"other")
        with pytest.raises(SourceError, match="broke off after 300000 of 1048576 bytes .*has changed while"):
            file.read()
    assert web.asked[-1].headers["If-Range"] == '"a"'


def test_a_download_that_stays_broken_gives_the_frames_that_came_and_then_an_error(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "PAUSE_S", 0.01)
    web.pages["/cars.mp4"] = sends(CLIP, ranges=False, cut=len(CLIP) // 2)
    frames = 0
    with (
        open_source(f"{web.root}/cars.mp4") as source,
        pytest.raises(SourceError, match=r"cars\.mp4 broke off after \d+ of \d+ bytes.*: fetch it again"),
    ):
        for _ in source:
            frames += 1
    assert 20 < frames < 100


def test_a_damaged_file_is_told_as_on_the_disk(web: Web) -> None:
    web.pages["/cars.mp4"] = sends(CLIP[: len(CLIP) // 2])
    with (
        open_source(f"{web.root}/cars.mp4") as source,
        pytest.raises(SourceError, match=r"is damaged: \d+ of 120 frames"),
    ):
        list(source)


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (says(401, {"WWW-Authenticate": 'Basic realm="a"'}), r"refuses the user or password given \(status 401\)"),
        (says(403, {}), r"refuses the user or password given \(status 403\)"),
        (says(401, {"WWW-Authenticate": "Strange"}), r"refuses the user or password given \(status 401\)"),
        (says(404, {}), r"is not there \(status 404\)"),
        (says(503, {}), r"cannot be had at the moment \(status 503\)"),
        (says(418, {}), r"is refused \(status 418\)"),
        (says(302, {"Location": "file:///etc/passwd"}), r"is refused \(status 302\)"),
        (says(200, {"Content-Type": "text/html"}, b"<p>"), "is a web page, no video"),
        (says(200, {}, b"\n<!DOCTYPE html><html>"), "is a web page, no video"),
        (says(200, {}, b"a text\n" * 99), "is no video that FFmpeg can read"),
        (says(200, {}), "is no video that FFmpeg can read"),
        (lambda request: request.wfile.write(b"RTSP/1.0 200 OK\r\n\r\n"), "answers, but not as HTTP says"),
    ],
)
def test_what_is_wrong_is_told_apart_and_the_password_never(page: Page, message: str, web: Web) -> None:
    web.pages["/a.mp4"] = page
    address = f"{web.root}/a.mp4?key=secret".replace("://", "://eve:secret@")
    with pytest.raises(SourceError, match=message) as found:
        open_source(address)
    assert "secret" not in chain(found.value)
    assert "http://***@127.0.0.1" in str(found.value)


def chain(error: BaseException | None) -> str:
    """All that an error and those behind it know."""
    told = ""
    while error is not None:
        told += f"{error!r} {error} {error.__dict__}"
        error = error.__cause__ or error.__context__
    return told


def test_who_does_not_answer_is_told_apart() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(SourceError, match=r"127\.0\.0\.1 does not answer in time"):
            HttpFile(Address.of(f"http://127.0.0.1:{port}/"), timeout_s=0.05)
        with pytest.raises(SourceError, match=r"does not answer in time"):
            HttpFile(Address.of(f"https://127.0.0.1:{port}/"), timeout_s=0.05)
    with pytest.raises(SourceError, match=r"127\.0\.0\.1 refuses the connection"):
        open_source(f"http://127.0.0.1:{port}/")
    with pytest.raises(SourceError, match=r"there is no host 'cam\.invalid'"):
        open_source("http://cam.invalid/")


def basic(request: BaseHTTPRequestHandler) -> None:
    if request.headers.get("Authorization") == "Basic " + base64.b64encode(b"eve:p@ss/w:rd?").decode():
        return sends(CLIP)(request)
    return says(401, {"WWW-Authenticate": 'Basic realm="cam"'})(request)


def digest(request: BaseHTTPRequestHandler) -> None:
    """As RFC 2617 says, without a quality of protection."""
    given = dict(re.findall(r'(\w+)="([^"]*)"', request.headers.get("Authorization", "")))
    who, what = "eve:cam:p@ss/w:rd?", f"GET:{request.path}"
    first, second = (hashlib.md5(text.encode()).hexdigest() for text in (who, what))
    if given.get("response") == hashlib.md5(f"{first}:17:{second}".encode()).hexdigest():
        return sends(CLIP)(request)
    return says(401, {"WWW-Authenticate": 'Digest realm="cam", nonce="17"'})(request)


@pytest.mark.parametrize("page", [basic, digest])
def test_a_password_opens_and_no_other(page: Page, web: Web) -> None:
    web.pages["/a"] = page
    with HttpFile(Address.of(f"{web.root}/a".replace("://", "://eve:p%40ss%2Fw%3Ard%3F@"))) as file:
        assert file.read(1000) == CLIP[:1000]
    for wrong in ("eve:p@s@", "p%40ss@", ""):
        with pytest.raises(SourceError, match=r"\(status 401\)"):
            HttpFile(Address.of(f"{web.root}/a".replace("://", f"://{wrong}")))


def test_a_password_is_for_its_own_server(web: Web) -> None:
    other = Web()
    try:
        web.pages["/a"] = says(302, {"Location": f"{other.root}/a"})
        other.pages["/a"] = says(401, {"WWW-Authenticate": 'Basic realm="a"'})
        with pytest.raises(SourceError, match="status 401"):
            HttpFile(Address.of(f"{web.root}/a".replace("://", "://eve:secret@")))
        assert len(other.asked) == 1
        assert "Authorization" not in other.asked[0].headers
    finally:
        other.close()


def test_a_certificate_is_looked_at(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrap(server: ThreadingHTTPServer) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)

    web = Web(wrap)
    web.pages["/a"] = sends(DATA)
    address = Address.of(f"{web.root}/a".replace("http", "https"))
    try:
        with pytest.raises(SourceError, match=r"certificate of 127\.0\.0\.1 is not to be trusted .*SSL_CERT_FILE"):
            HttpFile(address)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with HttpFile(address) as file:
            assert file.read() == DATA
        with pytest.raises(SourceError, match=r"answers, but not as HTTP says|failed"):
            HttpFile(Address.of(f"{web.root}/a"))
    finally:
        web.close()


def test_who_speaks_no_tls_is_told_so(web: Web) -> None:
    with pytest.raises(SourceError, match=r"no encrypted connection to 127\.0\.0\.1 .*does it speak TLS"):
        HttpFile(Address.of(web.root.replace("http", "https")))


def test_who_waits_for_a_byte_can_be_woken(web: Web) -> None:
    waiting = threading.Event()

    def stall(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        request.wfile.write(b"abc")
        request.wfile.flush()
        waiting.wait(10)

    web.pages["/a"] = stall
    file = HttpFile(Address.of(f"{web.root}/a"))
    assert file.read(3) == b"abc"
    begin_s = monotonic()
    threading.Timer(0.05, file.interrupt).start()
    with pytest.raises(SourceError, match="was closed"):
        file.read(3)
    assert monotonic() - begin_s < 5
    file.close()
    waiting.set()


def test_who_waits_for_a_frame_is_woken(web: Web) -> None:
    """By a stop, after which there is no error: nobody wants the rest."""
    waiting = threading.Event()

    def stall(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(CLIP)))
        request.end_headers()
        request.wfile.write(CLIP[: len(CLIP) // 2])
        request.wfile.flush()
        waiting.wait(10)

    web.pages["/cars.mp4"] = stall
    source = open_source(f"{web.root}/cars.mp4")
    threading.Timer(0.3, source.stop).start()
    begin_s = monotonic()
    assert 20 < len(list(source)) < 100
    assert monotonic() - begin_s < 5
    waiting.set()
