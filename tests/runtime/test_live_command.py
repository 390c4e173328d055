"""The command with cameras of a network and the page. Oracles: what a server on loopback says, files read back.

The command runs in this thread, as signals want it; whoever watches it in another.
"""

import base64
import itertools
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPMessage
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import av
import cv2
import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from runtime.__main__ import app

from .sources.web_server import Web, says

WORDS = ["--classes", "car, road", "--refine", "none", "--imgsz", "64", "--provider", "cpu"]


class Camera:
    """Sends JPEG pictures without end, each as `picture` makes it of its number, from one visit to the next.

    Attributes:
        hangs: send no more, and keep the connection.
        leaves: end the connection.
        sent: pictures.
    """

    def __init__(self, picture: Callable[[int], np.ndarray], pause_s: float = 0.02) -> None:
        self._picture, self._pause_s = picture, pause_s
        self.hangs, self.leaves = threading.Event(), threading.Event()
        self.visits = self.sent = 0

    def __call__(self, request: BaseHTTPRequestHandler) -> None:
        self.visits += 1
        request.send_response(200)
        request.send_header("Content-Type", "multipart/x-mixed-replace; boundary=f")
        request.end_headers()
        request.close_connection = True
        while not self.leaves.wait(self._pause_s):
            if self.hangs.is_set():
                continue
            data = cv2.imencode(".jpg", self._picture(self.sent))[1].tobytes()
            head = f"--f\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            request.wfile.write(head.encode() + data + b"\r\n")
            self.sent += 1


def moving(number: int) -> np.ndarray:
    return np.full((48, 64, 3), 5 * number % 256, np.uint8)


@dataclass(frozen=True)
class Page:
    """The command's page."""

    port: int

    def get(self, path: str, method: str = "GET", body: bytes | None = None) -> tuple[int, HTTPMessage, bytes]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def health(self, source: str = "") -> dict[str, Any]:
        """How the stream is; of one that is not served yet, nothing."""
        try:
            return dict(json.loads(self.get(f"{source}/healthz")[2]))
        except OSError:
            return {"state": None, "frames": 0, "dropped": 0, "reconnects": 0}

    def frames(self, source: str = "") -> int:
        return int(self.health(source)["frames"])


def until(true: Callable[[], object], seconds: float = 30) -> bool:
    deadline_s = monotonic() + seconds
    while not true() and monotonic() < deadline_s:
        sleep(0.01)
    return bool(true())


def run(*arguments: str) -> Result:
    """The command in this process; what it raises and does not explain is raised here."""
    done = CliRunner().invoke(app, [*arguments, *WORDS], env={"COLUMNS": "200"})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def served(*arguments: str, meanwhile: Callable[[Page], object], number: int = signal.SIGTERM) -> Result:
    """Run the command with a page until somebody has watched it, and then send it a signal."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    page = Page(port)
    main = threading.main_thread().ident
    assert main is not None

    def watch() -> None:
        try:
            meanwhile(page)
        finally:
            signal.pthread_kill(main, number)

    before = signal.signal(number, signal.default_int_handler if number == signal.SIGINT else lambda *_: None)
    try:
        with ThreadPoolExecutor(1) as watching:
            watched = watching.submit(watch)
            done = run(*arguments, "--serve", str(port))
        watched.result()
    finally:
        signal.signal(number, before)
    with pytest.raises(ConnectionRefusedError):
        page.get("/")
    return done


@pytest.fixture
def web() -> Iterator[Web]:
    server = Web()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the command runs in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sizes(path: Path) -> list[tuple[int, int]]:
    with av.open(str(path)) as container:
        return [(frame.height, frame.width) for frame in container.decode(video=0)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_finishes_what_a_camera_records(number: signal.Signals, web: Web, folder: Path) -> None:
    """Also while the camera sends nothing."""
    web.pages["/cam"] = camera = Camera(moving)

    def watch(page: Page) -> None:
        # A recorder that is busy with one frame never gets the next, which is counted as dropped.
        assert until(lambda: (health := page.health())["frames"] - health["dropped"] >= 5)
        if number == signal.SIGHUP:
            camera.hangs.set()
            assert until(lambda: page.health()["state"] == "stale")

    done = served(f"{web.root}/cam", "o.mp4", "o.jsonl", meanwhile=watch, number=number)
    assert done.exit_code == 128 + number, done.output
    assert sorted(path.name for path in folder.iterdir()) == ["o.jsonl", "o.mp4"]
    assert len(sizes(folder / "o.mp4")) >= 5
    assert all(json.loads(line) for line in (folder / "o.jsonl").read_text().splitlines())


def test_who_stops_before_the_first_picture_is_told_of_no_file(web: Web, folder: Path) -> None:
    web.pages["/cam"] = camera = Camera(moving)
    camera.hangs.set()

    def watch(page: Page) -> None:
        assert until(lambda: page.health()["state"] == "reconnecting")

    done = served(f"{web.root}/cam", "o.mp4", meanwhile=watch)
    assert done.exit_code == 143, done.output
    assert "stopped before the first frame: nothing was written" in done.output
    assert "wrote" not in done.output
    assert list(folder.iterdir()) == []


def test_a_camera_comes_back_with_another_size_and_format(web: Web, folder: Path) -> None:
    """In colour, then grey and larger, then a single pixel, then odd sides: video, masks and page follow."""
    shapes = [(48, 64, 3), (80, 96), (1, 1, 3), (81, 97, 3)]
    cameras = [Camera(lambda number, shape=shape: np.full(shape, 5 * number % 256, np.uint8)) for shape in shapes]
    visits = itertools.count()
    web.pages["/cam"] = lambda request: cameras[min(next(visits), 3)](request)
    seen = []

    def watch(page: Page) -> None:
        for number, camera in enumerate(cameras):
            assert until(lambda number=number: page.health()["reconnects"] == number)
            frames = page.frames()
            assert until(lambda frames=frames: page.frames() >= frames + 5)
            for path in ("/snapshot.png", "/masks.png"):
                picture = cv2.imdecode(np.frombuffer(page.get(path)[2], np.uint8), cv2.IMREAD_UNCHANGED)
                seen.append(picture.shape[:2])
            if number < 3:
                camera.leaves.set()

    done = served(f"{web.root}/cam", "o.mp4", "masks", meanwhile=watch)
    assert done.exit_code == 143, done.output
    assert seen == [shape[:2] for shape in shapes for _ in range(2)]
    even = [(height + height % 2, width + width % 2) for height, width, *_ in shapes]
    pieces = [folder / name for name in ("o.mp4", "o-001.mp4", "o-002.mp4", "o-003.mp4")]
    assert [set(sizes(piece)) for piece in pieces] == [{size} for size in even]
    masks = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED).shape[:2] for path in sorted((folder / "masks").glob("*.png"))]
    assert list(dict.fromkeys(masks)) == [shape[:2] for shape in shapes]


def test_a_password_is_seen_nowhere(web: Web, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """While all is well, while the camera refuses, where the command fails; neither as typed nor as it is sent."""
    user, password, key = "eve-secret", "p@ss-secret", "key-secret"
    sent = base64.b64encode(f"{user}:{password}".encode()).decode()
    camera = Camera(moving)

    def guarded(request: BaseHTTPRequestHandler) -> None:
        known = request.headers.get("Authorization") == f"Basic {sent}" and not camera.leaves.is_set()
        (camera if known else says(401, {"WWW-Authenticate": 'Basic realm="cam"'}))(request)

    web.pages["/cam"] = guarded
    told = []

    def look(page: Page) -> None:
        for path in ("/", "/healthz", "/metrics", "/words", "/snapshot.png", "/gone", "/page/live.js"):
            _, headers, body = page.get(path)
            told.append(f"{headers}{body.decode(errors='replace')}")
        with socket.create_connection(("127.0.0.1", page.port), timeout=10) as viewer:
            viewer.sendall(
                f"GET /live HTTP/1.1\r\nHost: localhost:{page.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
            )
            message = b""
            while b'"problem"' not in message:
                message += viewer.recv(1 << 16)
            told.append(message.decode(errors="replace"))
        told.append(" ".join(thread.name for thread in threading.enumerate()))

    def watch(page: Page) -> None:
        assert until(lambda: page.frames() >= 3)
        look(page)
        camera.leaves.set()
        assert until(lambda: page.health()["state"] == "reconnecting")
        assert until(lambda: len(web.asked) >= 4)
        look(page)

    address = f"{web.root.replace('://', f'://{user}:p%40ss-secret@')}/cam?key={key}"
    done = served(address, "o.mp4", "o.jsonl", "--stats", "s.jsonl", meanwhile=watch)
    assert done.exit_code == 143, done.output
    wrong = run(address, "never.mp4")
    assert (wrong.exit_code, "refuses the user or password" in wrong.output) == (1, True)
    entrance, options = address.partition("?")[0], ("--stats", "--serve", "--bundle")
    misplaced = [run("test://pattern", "never.mp4", option, entrance) for option in options]
    assert [failed.exit_code for failed in misplaced] == [2, 2, 2]
    assert any("refuses the user or password" in text for text in told)  # of the page, while it was so
    files = "".join(path.read_bytes().decode(errors="replace") for path in folder.iterdir())
    said = [result.output for result in (done, wrong, *misplaced)]
    text = " ".join([*told, *said, files, *capfd.readouterr()])
    for secret in (user, password, "p%40ss-secret", key, sent):
        assert secret not in text
    assert web.root.removeprefix("http://") in text


def test_one_camera_that_is_dead_takes_nothing_from_the_others(web: Web) -> None:
    """One hangs after its first pictures, one was never there. Oracle: every picture of the third is segmented.

    It sends the next when the one before has been counted.
    """
    counted = threading.Semaphore(1)

    def when_counted(number: int) -> np.ndarray:
        assert counted.acquire(timeout=20)
        return moving(number)

    web.pages["/good"], web.pages["/hangs"] = Camera(when_counted, 0.0), (hanging := Camera(moving))

    def watch(page: Page) -> None:
        assert until(lambda: page.frames("/hangs") >= 2)
        hanging.hangs.set()
        for number in range(1, 40):
            assert until(lambda number=number: page.frames("/good") == number)
            counted.release()
            if number == 20:
                assert until(lambda: page.health("/hangs")["state"] == "reconnecting")
        assert page.get("/good/healthz")[0] == 200
        assert page.health("/good")["dropped"] == 0
        assert page.get("/hangs/healthz")[0] == page.get("/gone/healthz")[0] == page.get("/healthz")[0] == 503
        counted.release()

    sources = [f"good={web.root}/good", f"hangs={web.root}/hangs", f"gone={web.root}/gone"]
    done = served(*itertools.chain(*(["-s", source] for source in sources)), meanwhile=watch)
    assert done.exit_code == 143, done.output


def test_a_full_disk_ends_the_run_and_is_told(web: Web, folder: Path, files_no_longer_than: Any) -> None:
    """A recording that is no longer one is no small matter. What there is can be played and read."""
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    web.pages["/cam"] = Camera(lambda number: np.roll(noise, 7 * number, 0), 0.05)

    def watch(page: Page) -> None:
        assert until(lambda: page.frames() >= 1)
        assert until(lambda: page.health()["state"] is None)  # it is served no more

    with files_no_longer_than(200_000):
        done = served(f"{web.root}/cam", "o.mp4", "o.jsonl", meanwhile=watch)
    assert done.exit_code == 1, done.output
    assert "o.partial.mp4 cannot be written (File too large): make room there" in done.output
    assert "what was written until then: o.partial.mp4" in done.output
    lines = (folder / "o.partial.jsonl").read_text().splitlines()
    assert len(lines) == len([json.loads(line) for line in lines]) > 5
    with av.open("o.partial.mp4") as container:
        assert sum(1 for _ in itertools.islice(container.decode(video=0), 5)) == 5


def test_what_is_left_alone_does_not_grow(web: Web, folder: Path) -> None:
    """Every round the camera goes and comes back, viewers come and go, words change and a new piece is begun.

    Threads and open files are as many as after the first rounds, and memory grows by less than the pictures of a
    second. It takes TCL_EDGE_SOAK_S seconds, ten if nothing is said.
    """
    rounds, told, seconds = 0, [], float(os.environ.get("TCL_EDGE_SOAK_S", "10"))
    web.pages["/cam"] = camera = Camera(lambda number: np.full((480, 640, 3), 5 * number % 256, np.uint8), 0.03)

    def once(page: Page) -> None:
        nonlocal rounds
        rounds += 1
        frames, reconnects = page.frames(), page.health()["reconnects"]
        assert page.get("/words", "PUT", json.dumps({"classes": ["car", f"wheel {rounds % 7}"]}).encode())[0] == 200
        for path in ("/snapshot.png", "/metrics"):
            assert page.get(path)[0] == 200
        with socket.create_connection(("127.0.0.1", page.port), timeout=10) as viewer:
            viewer.sendall(f"GET /stream.mjpg HTTP/1.1\r\nHost: localhost:{page.port}\r\n\r\n".encode())
            read = 0
            while read < 30_000:
                read += len(viewer.recv(1 << 16))
        assert until(lambda: page.frames() >= frames + 5)
        camera.leaves.set()
        assert until(lambda: page.health()["state"] == "reconnecting")
        camera.leaves.clear()
        assert until(lambda: page.health()["reconnects"] > reconnects)

    def held() -> tuple[int, int]:
        return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def watch(page: Page) -> None:
        assert until(lambda: page.frames() >= 3)
        begin_s = monotonic()
        while rounds < 3 or monotonic() - begin_s < 0.3 * seconds:
            once(page)
        (threads, files), memory, warm = held(), resident(), rounds
        while rounds < warm + 3 or monotonic() - begin_s < seconds:
            once(page)
        assert until(lambda: held()[0] <= threads and held()[1] <= files, 10), (held(), threads, files)
        grown = resident() - memory
        told.append(f"{rounds} rounds: {threads} threads, {files} files, {grown / 1e6:+.1f} MB")
        # The camera lives in this process, too, and its server grows by 0.1 MB a round; tests/test_soak.py has its own.
        assert grown < 16e6 + 0.2e6 * (rounds - warm)

    done = served(f"{web.root}/cam", "o.mp4", "--segment", "1s", "--stats", "s.jsonl", meanwhile=watch)
    sys.stdout.write(f"{told}\n")
    assert done.exit_code == 143, done.output
    assert len(list(folder.glob("o-*.mp4"))) >= 3
