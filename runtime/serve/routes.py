"""What is answered at which path."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from http import HTTPStatus
from typing import Any

from aiohttp import WSMsgType, web

from runtime.errors import VocabularyError
from runtime.serve.channel import Channel, Shot
from runtime.serve.encoding import Packet
from runtime.serve.guard import refusal
from runtime.serve.hub import Hub
from runtime.serve.limits import Limits, Rate, Viewers
from runtime.serve.metrics import exposition
from runtime.serve.words import hexadecimal
from runtime.stream.status import Status

WELL = ("live", "ended")
BOUNDARY = "frame"


def health(status: Status) -> dict[str, Any]:
    """Tell what `/healthz` tells of a stream."""
    return {
        "state": status.state,
        "age_ms": _rounded(status.age_ms),
        "frames": status.frames,
        "dropped": status.dropped,
        "reconnects": status.reconnects,
        "fps": _rounded(status.fps),
    }


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 1)


class Routes:
    """The paths of one source.

    Args:
        channel: of the source.
        hub: of the channel.
        viewers: all that there are, of other sources, too.
        changes: how often words may be changed.
        limits: what the server bears.
        pool: for what takes longer.
    """

    def __init__(
        self, channel: Channel, hub: Hub, viewers: Viewers, changes: Rate, limits: Limits, pool: Executor
    ) -> None:
        self._channel, self._hub, self._viewers, self._changes = channel, hub, viewers, changes
        self._limits, self._pool = limits, pool

    def add_to(self, router: web.UrlDispatcher, prefix: str) -> None:
        """Add the paths, each after a prefix like /NAME."""
        router.add_get(f"{prefix}/healthz", self._healthz)
        router.add_get(f"{prefix}/metrics", self._metrics)
        router.add_get(f"{prefix}/words", self._read_words)
        router.add_put(f"{prefix}/words", self._change_words)
        router.add_get(f"{prefix}/snapshot.png", self._picture(self._hub.snapshot))
        router.add_get(f"{prefix}/masks.png", self._picture(self._hub.masks))
        router.add_get(f"{prefix}/stream.mjpg", self._motion_jpeg, allow_head=False)
        router.add_get(f"{prefix}/live", self._live, allow_head=False)

    async def _healthz(self, _: web.Request) -> web.Response:
        status = self._channel.status()
        return web.json_response(health(status), status=200 if status.state in WELL else 503)

    async def _metrics(self, _: web.Request) -> web.Response:
        return metrics({"": self._channel.status()}, self._viewers.count)

    async def _read_words(self, _: web.Request) -> web.Response:
        loop = asyncio.get_running_loop()
        return web.json_response(await loop.run_in_executor(self._pool, self._channel.words.read))

    async def _change_words(self, request: web.Request) -> web.Response:
        if not self._changes.allows():
            error = f"words were changed too often: {self._limits.changes_per_s:g} times a second are taken"
            response = refusal(HTTPStatus.TOO_MANY_REQUESTS, error)
            response.headers["Retry-After"] = "1"
            return response
        try:
            body = await asyncio.wait_for(request.read(), self._limits.request_s)
            wanted = json.loads(body)
        except asyncio.TimeoutError:
            return refusal(HTTPStatus.REQUEST_TIMEOUT, f"the body did not come within {self._limits.request_s:g} s")
        except (ValueError, RecursionError):
            return refusal(HTTPStatus.BAD_REQUEST, 'the body is no JSON: send {"classes": ["car", "dog|puppy"]}')
        try:
            loop = asyncio.get_running_loop()
            return web.json_response(await loop.run_in_executor(self._pool, self._channel.words.change, wanted))
        except VocabularyError as error:
            return refusal(HTTPStatus.UNPROCESSABLE_ENTITY, str(error), word=error.word)

    def _picture(self, made: Callable[[], Awaitable[bytes | None]]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(_: web.Request) -> web.Response:
            picture = await made()
            if picture is None:
                return refusal(HTTPStatus.SERVICE_UNAVAILABLE, "there was no picture yet: ask again when there is one")
            return web.Response(body=picture, content_type="image/png")

        return answer

    def _too_many(self) -> web.Response:
        error = f"{self._viewers.most} watch already, which is the most: try again later"
        return refusal(HTTPStatus.SERVICE_UNAVAILABLE, error)

    async def _motion_jpeg(self, request: web.Request) -> web.StreamResponse:
        if self._viewers.full:
            return self._too_many()
        with self._viewers.one_more(), self._channel.watching():
            response = web.StreamResponse(headers={"Content-Type": f"multipart/x-mixed-replace; boundary={BOUNDARY}"})
            await response.prepare(request)
            try:
                while True:
                    await self._send_pictures(response)
            except asyncio.TimeoutError:
                _drop(request)
            except ConnectionError:
                pass  # it has left
            return response

    async def _send_pictures(self, response: web.StreamResponse) -> None:
        """Send each new picture, and of a stream that stands still one a second, which says so."""
        seen = 0
        while True:
            if await self._hub.newer(seen, 1.0) or self._hub.status().state != "live":
                if self._hub.newest is None:
                    continue
                seen = self._hub.newest.number
                jpeg = await self._hub.picture()
                head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                await asyncio.wait_for(response.write(head.encode() + jpeg + b"\r\n"), self._limits.dead_s)

    async def _live(self, request: web.Request) -> web.StreamResponse:
        if self._viewers.full:
            return self._too_many()
        socket = web.WebSocketResponse(compress=False, max_msg_size=1024, timeout=1.0)
        if not socket.can_prepare(request):
            return refusal(HTTPStatus.UPGRADE_REQUIRED, "this is a WebSocket: a page or a program opens it as one")
        with self._viewers.one_more(), self._channel.watching():
            await socket.prepare(request)
            try:
                await self._send_packets(socket)
            except asyncio.TimeoutError:
                _drop(request)
            except ConnectionError:
                pass  # it has left
            return socket

    async def _send_packets(self, socket: web.WebSocketResponse) -> None:
        """Send a frame, wait until it is acknowledged, and send the newest there is by then."""
        seen, version, frame = 0, 0, None
        while True:
            packet = None
            if await self._hub.newer(seen, self._limits.heartbeat_s):
                packet = await self._hub.packet()
                seen, frame = packet.shot.number, packet.shot.index
            line = _about(packet, self._hub.newest, self._hub.status())
            if packet is not None and packet.shot.words_version != version:
                version = packet.shot.words_version
                line["words"] = _words(packet.shot)
            message = json.dumps(line).encode() + b"\n" + (packet.jpeg + packet.labels if packet else b"")
            await asyncio.wait_for(socket.send_bytes(message), self._limits.dead_s)
            if not await asyncio.wait_for(_acknowledged(socket, frame), self._limits.dead_s):
                return


async def _acknowledged(socket: web.WebSocketResponse, frame: int | None) -> bool:
    """Wait for the acknowledgement of a frame, and tell whether it came; otherwise the viewer has left."""
    while True:
        message = await socket.receive()
        if message.type is not WSMsgType.TEXT:
            await socket.close(code=1003)
            return False
        try:
            answer = json.loads(message.data)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict) or "ack" not in answer:
            await socket.close(code=1008, message=b'expected {"ack": FRAME}')
            return False
        if answer["ack"] == frame:
            return True


def _about(packet: Packet | None, newest: Shot | None, status: Status) -> dict[str, Any]:
    """Say what a message holds, and how the stream is."""
    height, width = (0, 0) if newest is None else newest.result.mask.shape
    shot = newest if packet is None else packet.shot
    age_ms = status.age_ms if packet is None else packet.shot.age_ms()
    return {
        "frame": None if shot is None else shot.index,
        "time_s": None if shot is None else round(shot.time_s, 3),
        "age_ms": _rounded(age_ms),
        "state": status.state,
        "width": width,
        "height": height,
        "jpeg": 0 if packet is None else len(packet.jpeg),
        "labels": 0 if packet is None else len(packet.labels),
        "words_version": 0 if shot is None else shot.words_version,
        "coverage": [] if packet is None else packet.coverage,
        "speed": {} if packet is None else {k: round(v, 2) for k, v in packet.shot.result.speed.items()},
        "latency": {stage: [round(value, 2) for value in values] for stage, values in status.latency.items()},
        "fps": _rounded(status.fps),
        "camera_fps": _rounded(status.camera_fps),
        "dropped": status.dropped,
        "reconnects": status.reconnects,
        "problem": status.problem,
    }


def _words(shot: Shot) -> dict[str, Any]:
    """Tell what the labels mean."""
    result = shot.result
    return {"names": list(result.names), "colours": hexadecimal(result.colours), "unpainted": result.unpainted}


def _drop(request: web.Request) -> None:
    """Cut the connection to a viewer that takes nothing: it would not take a farewell either."""
    if request.transport is not None:
        request.transport.abort()


def metrics(statuses: Mapping[str, Status], viewers: int) -> web.Response:
    """Answer Prometheus."""
    body = exposition(statuses, viewers)
    return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})
