"""A stream that goes on frame by frame as a test wants it, and its server."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection, HTTPMessage
from itertools import islice
from threading import Event, Thread
from time import monotonic
from typing import Any

import pytest

from runtime.bundle import Bundle
from runtime.segmentation import Segmentation
from runtime.segmenter import Segmenter
from runtime.serve.channel import Channel
from runtime.serve.limits import Limits
from runtime.serve.server import Server
from runtime.sources.open import open_source
from runtime.sources.source import Frame, State
from runtime.stream.latency import Latency
from runtime.stream.status import Status

SIZE = 64
WORDS = "car, road|ground|asphalt"


@pytest.fixture(scope="session")
def clip() -> list[Frame]:
    """The first frames of the shipped clip."""
    with open_source("test://cars") as source:
        return list(islice(source, 8))


@dataclass
class Stream:
    """A loop around a channel, by hand or in a thread."""

    segmenter: Segmenter
    clip: list[Frame]
    state: State = "live"
    arrived_s: float = 0.0
    frames: int = 0
    latency: Latency = field(default_factory=Latency)
    result: Segmentation | None = None
    unchanged_s: float = 0.0
    throttled: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.channel = Channel(self.segmenter, self.status)

    def status(self) -> Status:
        return Status(
            state=self.state,
            age_ms=1000 * (monotonic() - self.arrived_s) if self.frames else None,
            frames=self.frames,
            dropped=3,
            reconnects=1,
            fps=25.0,
            camera_fps=30.0,
            latency=self.latency.percentiles(),
            stage_seconds=self.latency.buckets(),
            problem=None if self.state == "live" else "rtsp://camera/ does not answer",
            unchanged_s=self.unchanged_s,
            throttled=self.throttled,
        )

    def step(self) -> Segmentation:
        """Segment the next frame into the channel; its arrays lie where the ones before lay, as in the real loop."""
        frame = self.clip[self.frames % len(self.clip)]
        self.arrived_s = monotonic()
        self.result = self.segmenter(frame.image, reuse=self.result)
        self.channel.write(self.result, replace(frame, index=self.frames, arrived_s=self.arrived_s), frame.image)
        self.latency.add({**self.result.speed, "end to end": 1000 * (monotonic() - self.arrived_s)})
        self.frames += 1
        return self.result

    def run(self, stop: Event, pause_s: float) -> None:
        while not stop.wait(pause_s):
            self.step()


@pytest.fixture(scope="session")
def own_segmenter(tiny: Bundle) -> Iterator[Segmenter]:
    """One whose words the tests of this folder change."""
    with Segmenter(tiny, WORDS, size=SIZE, threads=1, refine="none") as opened:
        yield opened


@pytest.fixture
def stream(own_segmenter: Segmenter, clip: list[Frame]) -> Stream:
    own_segmenter.set_classes(WORDS, background="default", threshold=None)
    return Stream(own_segmenter, clip)


@pytest.fixture
def pause_s() -> float:
    """Between two frames of a stream that runs."""
    return 0.01


@pytest.fixture
def running(stream: Stream, pause_s: float) -> Iterator[Stream]:
    """The stream in a thread."""
    stop = Event()
    thread = Thread(target=stream.run, args=(stop, pause_s))
    thread.start()
    yield stream
    stop.set()
    thread.join()


Serve = Callable[..., Server]


@pytest.fixture
def serve(stream: Stream) -> Iterator[Serve]:
    """Start servers of the stream, on a free port of this machine; they end with the test."""
    started: list[Server] = []

    def start(
        channels: dict[str, Channel] | None = None, *, host: str = "127.0.0.1", token: str | None = None, **limits: Any
    ) -> Server:
        server = Server(channels or {"": stream.channel}, host, 0, token, limits=Limits(**limits))
        server.start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.close()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@pytest.fixture
def ask() -> Callable[..., Answer]:
    return _ask


def _ask(server: Server, path: str, method: str = "GET", body: Any = None, host: str = "", **headers: str) -> Answer:
    """Send a request; a body that is no bytes as JSON."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=10)
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, path, data, {"Host": host or f"127.0.0.1:{server.port}", **named})
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()
