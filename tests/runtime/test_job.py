"""A source on its way, with its page and its watchdog. Oracle: what /healthz and a socket like systemd's say."""

import json
import socket
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest

from runtime.bundle import Bundle
from runtime.engines.fake import FakeEngine
from runtime.job import Job
from runtime.overlay import Look
from runtime.segmenter import Segmenter
from runtime.serve.channel import Channel
from runtime.serve.server import Server
from runtime.sources.live import LiveSource, Picture
from runtime.sources.open import open_source
from runtime.stream import monitor as monitors
from runtime.stream.monitor import Monitor
from runtime.systemd import Notifier


class Capture:
    """A picture every 10 ms, whatever becomes of them."""

    fps = 100.0
    closed = False

    def read(self) -> Picture | None:
        sleep(0.01)
        return None if self.closed else Picture(np.full((48, 64, 3), int(100 * monotonic()) % 256, np.uint8))

    def close(self) -> None:
        self.closed = True


def health(server: Server) -> tuple[int, dict[str, Any]]:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def until(true: Callable[[], object], seconds: float = 15) -> bool:
    deadline_s = monotonic() + seconds
    while not true() and monotonic() < deadline_s:
        sleep(0.01)
    return bool(true())


def test_inference_that_hangs_is_no_longer_live(tiny: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The camera sends on. The page says `stale`, the age grows, systemd hears nothing; and it all comes back."""
    monkeypatch.setattr(monitors, "HANGS_S", 0.3)
    hangs, goes_on, begun = Event(), Event(), Event()

    def answer(inputs: dict[str, np.ndarray]) -> np.ndarray:
        if hangs.is_set():
            begun.set()
            assert goes_on.wait(30)
        return np.zeros((1, len(inputs["text"]), 8, 8), np.float32)

    source, server_of_systemd = LiveSource("camera", Capture), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    engine = FakeEngine(answer, tiny.manifest.segmenter)
    with (
        server_of_systemd,
        Segmenter(tiny, "car", background=None, refine="none", engine=engine) as segmenter,
    ):
        server_of_systemd.bind(str(tmp_path / "notify"))
        server_of_systemd.setblocking(False)
        monitor = Monitor(source)
        channel = Channel(segmenter, monitor.status)
        with Notifier(str(tmp_path / "notify"), 0.02) as notifier, Server({"": channel}, "127.0.0.1", 0) as server:
            job = Job("", source, segmenter, monitor, Look(), sinks=[channel], beat=notifier.beat)
            server.start()
            running = Thread(target=job.run)
            running.start()
            try:
                assert until(lambda: health(server)[1]["frames"] > 3)
                assert health(server)[0] == 200
                hangs.set()
                assert begun.wait(10)
                assert until(lambda: health(server)[0] == 503)
                first = health(server)[1]
                assert first["state"] == "stale"
                assert first["age_ms"] >= 300
                assert "one frame has been worked on for" in str(monitor.status().problem)
                with suppress(BlockingIOError):
                    while server_of_systemd.recv(100):
                        pass
                sleep(0.1)  # five times what systemd would wait
                with pytest.raises(BlockingIOError):
                    server_of_systemd.recv(100)
                later = health(server)[1]
                assert later["age_ms"] > first["age_ms"]
                assert later["frames"] == first["frames"]
                assert source.state == "live"
                hangs.clear()
                goes_on.set()
                assert until(lambda: health(server)[0] == 200)
                assert until(lambda: health(server)[1]["frames"] > later["frames"])
                assert server_of_systemd.recv(100) == b"WATCHDOG=1"
            finally:
                goes_on.set()
                job.stop.set()
                running.join(20)
    assert job.complete


def test_a_machine_that_is_slow_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    """What took as long before may take three times as long; a frame that is done is no burden to the next."""
    now_s = [0.0]
    monkeypatch.setattr(monitors, "monotonic", lambda: now_s[0])
    monitor = Monitor(open_source("test://pattern"))
    for took_s, state in ((10.0, "live"), (11.0, "live"), (34.0, "stale"), (100.0, "live"), (301.0, "stale")):
        with monitor.working():
            now_s[0] += took_s
            assert monitor.state == state
        assert monitor.state == "live"
