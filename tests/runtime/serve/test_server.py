"""The interface for programs, and who may use it. Oracles: a client of the standard library, raw sockets, the clock."""

import io
import socket
import time
from http.client import HTTPConnection
from typing import Any

import numpy as np
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from runtime.errors import UsageError
from runtime.serve.limits import Rate
from runtime.serve.server import PAGE, Server

TOKEN = "käse and tea"


def picture(body: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(body)))


def test_health_says_how_the_stream_is(stream: Any, serve: Any, ask: Any) -> None:
    server = serve()
    stream.step()
    answer = ask(server, "/healthz")
    assert answer.status == 200
    assert answer.json.pop("age_ms") >= 0
    assert {k: v for k, v in answer.json.items() if k != "age_ms"} == {
        "state": "live",
        "frames": 1,
        "dropped": 3,
        "reconnects": 1,
        "fps": 25.0,
    }
    for state, status in (("stale", 503), ("reconnecting", 503), ("failed", 503), ("ended", 200)):
        stream.state = state
        assert (ask(server, "/healthz").status, ask(server, "/healthz").json["state"]) == (status, state)


def test_metrics_are_read_by_prometheus(stream: Any, serve: Any, ask: Any) -> None:
    stream.step()
    answer = ask(serve(), "/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    names = {family.name for family in text_string_to_metric_families(answer.body.decode())}
    assert {"tcl_edge_frames", "tcl_edge_stage_seconds", "tcl_edge_state", "tcl_edge_frame_age_seconds"} <= names


def test_words_are_read_and_changed(stream: Any, serve: Any, ask: Any) -> None:
    server = serve()
    assert ask(server, "/words").json["classes"] == ["car", "road|ground|asphalt"]
    changed = ask(server, "/words", "PUT", {"classes": ["dog|puppy:0.6"], "background": None})
    assert changed.status == 200
    assert changed.json == ask(server, "/words").json
    assert [str(word) for word in stream.segmenter.vocabulary.classes] == ["dog|puppy:0.6"]


def test_a_refused_word_is_named_and_changes_nothing(stream: Any, serve: Any, ask: Any) -> None:
    server, before = serve(), stream.segmenter.vocabulary
    refused = ask(server, "/words", "PUT", {"classes": ["car", "<img src=x>犬"]})
    assert refused.status == 422
    assert refused.json["word"] == "犬"
    assert "describe the thing in plain English words" in refused.json["error"]
    assert ask(server, "/words", "PUT", b"\xff{").status == 400
    assert ask(server, "/words", "PUT", b"[" * 60_000).status == 400
    assert ask(server, "/words", "PUT", [1]).status == 422
    assert stream.segmenter.vocabulary is before


def test_pictures_are_those_of_the_newest_frame(running: Any, serve: Any, ask: Any) -> None:
    server = serve()
    painted = ask(server, "/snapshot.png")
    assert picture(painted.body).shape == running.clip[0].image.shape
    assert painted.headers["Content-Type"] == "image/png"
    masks = picture(ask(server, "/masks.png").body)
    assert masks.shape == running.clip[0].image.shape[:2]
    assert set(np.unique(masks)) <= {0, 1, 2}


def test_of_a_stream_that_stands_still_the_last_frame_is_shown_in_grey(stream: Any, serve: Any, ask: Any) -> None:
    server = serve()
    stream.state = "reconnecting"
    assert ask(server, "/snapshot.png").status == 503  # there never was one
    result = stream.step()
    assert np.ptp(picture(ask(server, "/snapshot.png").body), axis=-1).max() == 0
    assert np.array_equal(picture(ask(server, "/masks.png").body), result.mask)


def test_motion_jpeg_shows_frame_after_frame(running: Any, serve: Any) -> None:
    server = serve()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(f"GET /stream.mjpg HTTP/1.1\r\nHost: localhost:{server.port}\r\n\r\n".encode())
        file = connection.makefile("rb")
        head = b"".join(iter(file.readline, b"\r\n")).decode().lower()
        assert "content-type: multipart/x-mixed-replace; boundary=frame" in head
        assert running.channel._watching == 1
        pictures = []
        data = b""
        while len(pictures) < 3:
            size = int(file.readline(), 16)  # chunked, as HTTP/1.1 sends what has no length
            data += file.read(size + 2)[:-2]
            while b"\r\n\r\n" in data:
                part, rest = data.split(b"\r\n\r\n", 1)
                length = int(part.lower().split(b"content-length: ")[1])
                if len(rest) < length + 2:
                    break
                pictures.append(picture(rest[:length]))
                data = rest[length + 2 :]
        assert all(shown.shape == running.clip[0].image.shape for shown in pictures)
        assert (pictures[0] != pictures[1]).any()
        file.close()
    for _ in range(100):
        if not running.channel._watching:
            break
        time.sleep(0.02)
    assert running.channel._watching == 0


HOSTS = ["localhost:{port}", "127.0.0.1:{port}", "[::1]:{port}", "LOCALHOST:{port}"]


@pytest.mark.parametrize("host", HOSTS)
def test_this_machine_goes_by_these_names(stream: Any, serve: Any, ask: Any, host: str) -> None:
    server = serve()
    assert ask(server, "/healthz", host=host.format(port=server.port)).status == 200


@pytest.mark.parametrize("path", ["/", "/words", "/live", "/stream.mjpg", "/nowhere"])
@pytest.mark.parametrize("host", ["evil.example:{port}", "localhost", "localhost:1", "localhost.evil.example:{port}"])
def test_another_name_is_refused(stream: Any, serve: Any, ask: Any, path: str, host: str) -> None:
    server = serve()
    refused = ask(server, path, host=host.format(port=server.port))
    assert refused.status == 403
    assert "expected one of 127.0.0.1" in refused.json["error"]


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost", "http://[", "file://", ""])
def test_a_page_of_another_origin_is_refused(stream: Any, serve: Any, ask: Any, origin: str) -> None:
    server, before = serve(), stream.segmenter.vocabulary
    assert ask(server, "/words", "PUT", {"classes": ["dog"]}, Origin=origin).status == 403
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec_WebSocket_Version": "13"}
    key = {"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    assert ask(server, "/live", Origin=origin, **upgrade, **key).status == 403
    assert stream.segmenter.vocabulary is before


def test_its_own_page_is_not(stream: Any, serve: Any, ask: Any) -> None:
    server = serve()
    origin = f"http://127.0.0.1:{server.port}"
    assert ask(server, "/words", "PUT", {"classes": ["dog"]}, Origin=origin).status == 200


def test_every_answer_tells_browsers_what_they_may_do(stream: Any, serve: Any, ask: Any) -> None:
    server = serve()
    for path, host in (("/", ""), ("/healthz", ""), ("/page/live.js", ""), ("/nowhere", ""), ("/", "evil")):
        headers = ask(server, path, host=host).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Server"] == "tcl-edge"
        assert "Access-Control-Allow-Origin" not in headers


def test_the_page_needs_nothing_from_elsewhere(stream: Any, serve: Any, ask: Any) -> None:
    server = serve()
    page = ask(server, "/")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert b"://" not in page.body
    assert b"style=" not in page.body
    for file in PAGE.iterdir():
        if file.suffix != ".html":
            assert ask(server, f"/page/{file.name}").body == file.read_bytes()
        text = file.read_text(encoding="utf-8")
        assert "http" not in text.replace('replace("http", "ws")', "").replace("http://www.w3.org/2000/svg", "")
        assert "innerHTML" not in text
    assert ask(server, "/page/../server.py").status == 404


def test_a_token_opens_everything_and_nothing_else_does(running: Any, serve: Any, ask: Any) -> None:
    server = serve(token=TOKEN)
    for path in ("/", "/healthz", "/metrics", "/words", "/snapshot.png", "/live", "/page/live.js", "/nowhere"):
        assert ask(server, path).status == 401, path
        assert ask(server, path).headers["WWW-Authenticate"] == "Bearer"
    for wrong in ("Bearer wrong", "Bearer ", "Basic x", "Bearer käse", TOKEN):
        assert ask(server, "/healthz", Authorization=wrong.encode().decode("latin-1")).status == 401
    assert ask(server, "/words", "PUT", {"classes": ["dog"]}).status == 401
    bearer = f"Bearer {TOKEN}".encode().decode("latin-1")
    assert ask(server, "/healthz", Authorization=bearer).status == 200
    assert ask(server, "/healthz", Authorization=bearer, host="evil").status == 403


def test_a_token_in_the_address_becomes_a_cookie(stream: Any, serve: Any, ask: Any) -> None:
    server = serve(token=TOKEN)
    typed = "k%C3%A4se%20and%20tea"
    assert ask(server, "/?token=wrong").status == 401
    moved = ask(server, f"/?token={typed}&x=1")
    assert (moved.status, moved.headers["Location"]) == (303, "/?x=1")
    cookie = moved.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "tea" not in cookie  # nobody reads the token out of it
    value = cookie.split(";")[0]
    assert ask(server, "/words", Cookie=value).status == 200
    assert ask(server, "/words", Cookie=value[:-1]).status == 401
    direct = ask(server, f"/healthz?token={typed}")  # players know no cookies
    assert (direct.status, direct.headers["Set-Cookie"]) == (200, cookie)


def test_who_opens_the_page_without_a_token_is_asked_for_it(stream: Any, serve: Any, ask: Any) -> None:
    page = ask(serve(token=TOKEN), "/", Accept="text/html,*/*")
    assert page.status == 401
    assert b'name="token"' in page.body


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "robot.local"])
def test_others_need_a_token(stream: Any, host: str) -> None:
    with pytest.raises(UsageError, match="add --token"):
        Server({"": stream.channel}, host, 0)


def test_all_addresses_are_those_of_both_kinds(stream: Any, ask: Any) -> None:
    """The address that is printed has the name of this machine, which leads to either."""
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    with Server({"": stream.channel}, "::", 0, TOKEN) as server:
        server.start()
        for host in ("127.0.0.1", "::1"):
            connection = HTTPConnection(host, server.port, timeout=10)
            connection.request("GET", "/healthz")
            assert connection.getresponse().status == 401
            connection.close()


def test_what_cannot_be_served_is_said_before(stream: Any, serve: Any) -> None:
    server = serve()
    with pytest.raises(UsageError, match=rf"cannot listen at 127.0.0.1:{server.port} \(.*choose another port"):
        Server({"": stream.channel}, "127.0.0.1", server.port).start()
    with pytest.raises(UsageError, match="choose another port"):
        Server({"": stream.channel}, "127.0.0.1", 70_000).start()
    with pytest.raises(UsageError, match="--token is empty"):
        Server({"": stream.channel}, "127.0.0.1", 0, " ")
    for name in ("a/b", "", "metrics", "..", "ä"):
        with pytest.raises(UsageError, match="cannot be part of a path"):
            Server({"front": stream.channel, name: stream.channel}, "127.0.0.1", 0)


def test_a_large_body_is_refused(stream: Any, serve: Any, ask: Any) -> None:
    server = serve()
    assert ask(server, "/words", "PUT", b'{"classes": ["' + b"x" * 10_000_000 + b'"]}').status == 413
    assert ask(server, "/healthz", body=b"x" * 10_000_000).status == 413
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:  # without a length
        head = f"PUT /words HTTP/1.1\r\nHost: localhost:{server.port}\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode())
        for _ in range(9):
            connection.sendall(b"2000\r\n" + b"x" * 0x2000 + b"\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_words_are_not_changed_all_the_time(stream: Any, serve: Any, ask: Any) -> None:
    server = serve(changes_at_once=3, changes_per_s=0.001)
    statuses = [ask(server, "/words", "PUT", {"threshold": 0.1}).status for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    assert ask(server, "/words").status == 200


def test_a_rate_lets_through_what_time_allows() -> None:
    now = 0.0
    rate = Rate(2.0, 3, clock=lambda: now)
    assert [rate.allows() for _ in range(4)] == [True, True, True, False]
    now = 0.6
    assert [rate.allows() for _ in range(2)] == [True, False]
    now = 100.0
    assert [rate.allows() for _ in range(4)] == [True, True, True, False]


def test_who_says_nothing_is_hung_up_on(stream: Any, serve: Any, ask: Any) -> None:
    server = serve(request_s=0.2, connections=6)
    silent = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(3)]
    silent[0].sendall(b"GET / HT")
    silent[1].sendall(f"PUT /words HTTP/1.1\r\nHost: localhost:{server.port}\r\nContent-Length: 9\r\n\r\n{{".encode())
    assert [connection.recv(12) for connection in silent] == [b"", b"HTTP/1.1 408", b""]
    for connection in silent:
        connection.close()
    assert ask(server, "/healthz").status == 200


def test_who_asks_for_nothing_more_is_hung_up_on(stream: Any, serve: Any) -> None:
    server = serve(idle_s=0.2)
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as idle:
        idle.sendall(f"GET /words HTTP/1.1\r\nHost: localhost:{server.port}\r\n\r\n".encode())
        assert idle.recv(12) == b"HTTP/1.1 200"
        while idle.recv(4096):  # until the server closes it
            pass


def test_connections_are_counted(stream: Any, serve: Any) -> None:
    server = serve(connections=2)
    open_ones = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(4)]
    assert sorted(bool(self_closed(connection)) for connection in open_ones) == [False, False, True, True]
    for connection in open_ones:
        connection.close()


def self_closed(connection: socket.socket) -> bool:
    connection.settimeout(0.2)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False


@pytest.mark.parametrize(("path", "method", "status"), [("/nowhere", "GET", 404), ("/words", "DELETE", 405)])
def test_what_is_not_there_is_said_in_json(
    stream: Any, serve: Any, ask: Any, path: str, method: str, status: int
) -> None:
    answer = ask(serve(), path, method)
    assert answer.status == status
    assert path in answer.json["error"]


def test_several_sources_have_paths_of_their_own(stream: Any, serve: Any, ask: Any) -> None:
    stream.step()
    server = serve({"front": stream.channel, "rear-2": stream.channel})
    assert b"overview.js" in ask(server, "/").body
    assert ask(server, "/page/overview.js").status == 200
    assert b"live.js" in ask(server, "/front/").body
    assert ask(server, "/front").headers["Location"] == "/front/"
    assert ask(server, "/front/page/live.js").status == 200
    assert ask(server, "/rear-2/words").json["classes"] == ["car", "road|ground|asphalt"]
    assert ask(server, "/words").status == 404
    assert set(ask(server, "/healthz").json) == {"front", "rear-2"}
    assert b'tcl_edge_frames_total{source="rear-2"} 1.0' in ask(server, "/metrics").body
    assert b"tcl_edge_frames_total 1.0" in ask(server, "/front/metrics").body
    stream.state = "stale"
    assert ask(server, "/healthz").status == 503


def test_closing_lets_everybody_go(running: Any, serve: Any) -> None:
    server = serve()
    assert server.address == f"http://127.0.0.1:{server.port}/"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(f"GET /stream.mjpg HTTP/1.1\r\nHost: localhost:{server.port}\r\n\r\n".encode())
        assert connection.recv(100)
        thread = server._thread
        server.close()
        server.close()
        assert not thread.is_alive()
        while connection.recv(1 << 20):
            pass
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", server.port), timeout=1)
    running.step()  # the stream goes on alone
