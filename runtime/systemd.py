"""Telling systemd how the process is, as `sd_notify` does: ready, alive, stopping, and a line for `systemctl status`.

    [Service]
    Type=notify
    WatchdogSec=10

What keeps the watchdog content is a loop that goes round: `beat` is called for every frame, and for every tick while a
live source sends none. A camera that is gone is therefore no reason for a restart, a GPU that hangs is one: inference
never returns, nothing beats, and after `WatchdogSec` systemd ends the process and starts another.
"""

import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from time import monotonic

from runtime.closing import Closing

PATIENCE_S = 0.5
"""How long `ready` and `stopping` may wait for systemd, which is usually there at once; nothing else waits."""

STATUS_EVERY_S = 1.0
"""At least this long between two lines of status; a figure that changes with every frame would be noise."""


class Notifier(Closing):
    """Sends what systemd waits for; without systemd every method does nothing. Never raises.

    Args:
        address: of the datagram socket: a path, or `@` and a name in Linux's abstract namespace; None for nobody.
        watchdog_s: after how many seconds without a sign of life systemd ends the process; None if it does not watch.
        clock: seconds that never go back.
    """

    def __init__(
        self, address: str | None, watchdog_s: float | None = None, *, clock: Callable[[], float] = monotonic
    ) -> None:
        self.watchdog_s = watchdog_s
        self._clock = clock
        self._beaten_s: float | None = None
        self._status: tuple[str, float] | None = None
        self._socket = _connected(address) if address else None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Notifier":
        """Take from the environment what systemd put there, if it started this process and watches it."""
        watched = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        microseconds = environment.get("WATCHDOG_USEC", "")
        limit = int(microseconds) / 1e6 if watched and microseconds.isdecimal() else 0.0
        return cls(environment.get("NOTIFY_SOCKET"), limit or None)

    def ready(self) -> None:
        """Say that it has started: what systemd starts after this one may begin."""
        if self._send("READY=1", PATIENCE_S):
            self._beaten_s = self._clock()

    def beat(self) -> None:
        """Give a sign of life, sent at most twice in the time that systemd allows. Call it more often than that."""
        if self.watchdog_s is None:
            return
        now = self._clock()
        due = self._beaten_s is None or now - self._beaten_s >= self.watchdog_s / 2
        if due and self._send("WATCHDOG=1"):
            self._beaten_s = now

    def status(self, text: str) -> None:
        """Say in a line how it is, at most once a second, and only what is new."""
        line, now = " ".join(text.split()), self._clock()
        if self._status is not None and (line == self._status[0] or now - self._status[1] < STATUS_EVERY_S):
            return
        self._status = line, now
        self._send(f"STATUS={line}")

    def stopping(self) -> None:
        """Say that it ends of its own will: what is open is finished now."""
        self._send("STOPPING=1", PATIENCE_S)

    def _send(self, message: str, wait_s: float = 0.0) -> bool:
        if self._socket is None:
            return False
        with suppress(OSError):  # whoever listens is gone or busy; the stream goes on
            self._socket.settimeout(wait_s)
            self._socket.send(message.encode("utf-8", "replace"))
            return True
        return False

    def close(self) -> None:
        """Close the socket; closing again does nothing."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _connected(address: str) -> socket.socket | None:
    if address[0] not in "/@" or not hasattr(socket, "AF_UNIX"):  # such as vsock:, of virtual machines
        return None
    name = "\0" + address[1:] if address[0] == "@" else address
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        opened.connect(name)
    except (OSError, ValueError):
        opened.close()
        return None
    return opened
