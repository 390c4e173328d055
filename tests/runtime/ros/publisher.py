"""A robot, on the loopback: publishes and listens through Cyclone DDS's own classes, with messages of its own."""

import os
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from cyclonedds.core import Policy, Qos
from cyclonedds.domain import DomainParticipant
from cyclonedds.pub import DataWriter
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic

DOMAIN = 1 + os.getpid() % 100
"""Of this process alone; later ones have ports that the system gives away."""

PLAIN = Policy.DataRepresentation(use_cdrv0_representation=True)


class Publisher:
    """Publishes pictures until it is closed."""

    def __init__(self, domain: int = DOMAIN) -> None:
        self._participant = DomainParticipant(domain)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def send(
        self,
        topic: str,
        message: Callable[[int], Any],
        *,
        reliable: bool = True,
        times: int = 10**6,
        every_s: float = 0.02,
    ) -> None:
        """Send `message(0)`, `message(1)` ... from now on."""
        promise = Policy.Reliability.Reliable(0) if reliable else Policy.Reliability.BestEffort
        writer = DataWriter(
            self._participant,
            Topic(self._participant, f"rt{topic}", type(message(0))),
            Qos(promise, Policy.History.KeepLast(1), PLAIN),
        )

        def run() -> None:
            for number in range(times):
                if self._stop.wait(every_s):
                    return
                writer.write(message(number))

        self._threads.append(threading.Thread(target=run))
        self._threads[-1].start()

    def listen(self, topic: str, kind: Any, *, latched: bool = False) -> DataReader:
        """Listen reliably to up to 100 messages."""
        durability = Policy.Durability.TransientLocal if latched else Policy.Durability.Volatile
        qos = Qos(Policy.Reliability.Reliable(0), durability, Policy.History.KeepLast(100), PLAIN)
        return DataReader(self._participant, Topic(self._participant, f"rt{topic}", kind), qos)

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._participant.__del__()

    def __enter__(self) -> "Publisher":
        return self

    def __exit__(self, *_: TracebackType | type[BaseException] | BaseException | None) -> None:
        self.close()
