"""Telling systemd. Oracle: what a real datagram socket receives, as systemd's own would."""

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.systemd import Notifier


@pytest.fixture(params=["path", "abstract"])
def listening(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """The address in the environment, and the socket of systemd."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@tcl-edge-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(address.replace("@", "\0", 1))
        server.settimeout(10)
        yield address, server


def received(server: socket.socket) -> list[str]:
    """Everything that has arrived."""
    server.setblocking(False)
    messages = []
    try:
        while True:
            messages.append(server.recv(4096).decode())
    except BlockingIOError:
        return messages


def test_what_is_said_arrives(listening: tuple[str, socket.socket]) -> None:
    address, server = listening
    with Notifier.from_environment({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "10000000"}) as notifier:
        assert notifier.watchdog_s == 10
        notifier.ready()
        notifier.status("live,\n29.8 fps")
        notifier.stopping()
        assert received(server) == ["READY=1", "STATUS=live, 29.8 fps", "STOPPING=1"]
    notifier.ready()
    notifier.close()
    assert received(server) == []


def test_it_beats_at_half_the_time_and_only_while_it_is_called(listening: tuple[str, socket.socket]) -> None:
    """Thirty frames a second for ten seconds, a hang, and one more frame; the clock is the test's."""
    address, server = listening
    now = 100.0
    with Notifier(address, 4.0, clock=lambda: now) as notifier:
        notifier.ready()
        sent = []
        for _ in range(306):
            now += 1 / 30
            notifier.beat()
            sent += [now - 100 for message in received(server) if message == "WATCHDOG=1"]
        assert sent == pytest.approx([2, 4, 6, 8, 10], abs=5 / 30)  # each up to a frame late
        now += 60
        assert received(server) == []
        notifier.beat()
        assert received(server) == ["WATCHDOG=1"]


def test_the_status_is_told_when_it_is_new_and_not_more_than_once_a_second(
    listening: tuple[str, socket.socket],
) -> None:
    address, server = listening
    now = 0.0
    with Notifier(address, clock=lambda: now) as notifier:
        for text in ("a", "a", "b", "b"):
            notifier.status(text)
            now += 0.6
        assert received(server) == ["STATUS=a", "STATUS=b"]
        notifier.beat()  # nobody watches
        assert received(server) == []


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"NOTIFY_SOCKET": ""},
        {"NOTIFY_SOCKET": "/there/is/none"},
        {"NOTIFY_SOCKET": "vsock:2:1234"},
        {"NOTIFY_SOCKET": "/" + "a" * 200},
        {"NOTIFY_SOCKET": "/a\0b"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"},
    ],
)
def test_without_systemd_nothing_happens(environment: dict[str, str]) -> None:
    with Notifier.from_environment(environment) as notifier:
        assert notifier.watchdog_s is None
        notifier.ready()
        notifier.beat()
        notifier.status("live")
        notifier.stopping()


def test_a_systemd_that_does_not_listen_holds_nothing_up(tmp_path: Path) -> None:
    """Its queue is full; a sign of life that was not taken is given again."""
    now = 0.0
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "notify"))
        with Notifier(str(tmp_path / "notify"), 1.0, clock=lambda: now) as notifier:
            for _ in range(2000):
                now += 1
                notifier.beat()
            taken = len(received(server))
            assert 0 < taken < 2000
            notifier.beat()
            assert received(server) == ["WATCHDOG=1"]
    notifier.ready()


def test_a_loop_that_hangs_is_found(tmp_path: Path) -> None:
    """A real process and a watchdog like systemd's, which kills it when nothing came for its time."""
    code = (
        "import time\nfrom runtime.systemd import Notifier\n"
        "notifier = Notifier.from_environment()\nnotifier.ready()\n"
        "for _ in range(20):\n    time.sleep(0.02)\n    notifier.beat()\n"
        "time.sleep(60)  # a GPU that never answers\n"
    )
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(address))
        server.settimeout(30)
        environment = {**os.environ, "NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": "200000"}
        with subprocess.Popen([sys.executable, "-c", code], env=environment) as process:
            try:
                assert server.recv(100) == b"READY=1"
                server.settimeout(1.0)  # more than its time: this machine may be busy
                begin, beats = time.monotonic(), 0
                with pytest.raises(TimeoutError):
                    while server.recv(100) == b"WATCHDOG=1":
                        beats += 1
                assert beats >= 3
                assert time.monotonic() - begin < 20
                assert process.poll() is None
            finally:
                process.kill()
