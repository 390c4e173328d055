"""Those who watch: by a WebSocket that takes one frame at a time, or by a picture that never ends."""

import json
from collections.abc import Awaitable, Callable
from contextlib import closing
from http import HTTPStatus
from time import monotonic

from aiohttp import WSMsgType, web

from runtime.serve.channel import Shot
from runtime.serve.guard import refusal
from runtime.serve.hub import Hub
from runtime.serve.limits import Deadline

BOUNDARY = "frame"

STILL_S = 1.0
"""Of a stream that stands still, a picture says so, and how long, so often."""

Show = Callable[[web.Request, Hub, float], Awaitable[web.StreamResponse]]


def _cutting(request: web.Request) -> Callable[[], None]:
    def cut() -> None:
        if request.transport is not None:
            request.transport.abort()  # it takes nothing, so it would not take a farewell either

    return cut


async def live(request: web.Request, hub: Hub, dead_s: float) -> web.StreamResponse:
    """Send a frame over a WebSocket, wait until it is acknowledged, and send the newest there is by then."""
    socket = web.WebSocketResponse(compress=False, max_msg_size=1024, timeout=1.0)
    if not socket.can_prepare(request):
        return refusal(HTTPStatus.UPGRADE_REQUIRED, "this is a WebSocket: a page or a program opens it as one")
    await socket.prepare(request)
    with closing(Deadline(dead_s, _cutting(request))) as deadline:
        shot: Shot | None = None  # that it got last
        try:
            while True:
                packet = await hub.packet() if await hub.newer(0 if shot is None else shot.number) else None
                before, shot = shot, shot if packet is None else packet.shot
                words = before is None or (shot is not None and shot.words_version != before.words_version)
                deadline.begin()
                await socket.send_bytes(hub.message(packet, shot, words=words))
                if not await _acknowledged(socket, None if shot is None else shot.index):
                    break
                deadline.end()
        except ConnectionError:
            pass  # it has left
    return socket


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


async def motion_jpeg(request: web.Request, hub: Hub, dead_s: float) -> web.StreamResponse:
    """Send each new picture, painted; of a stream that stands still one a second, which says so."""
    response = web.StreamResponse(headers={"Content-Type": f"multipart/x-mixed-replace; boundary={BOUNDARY}"})
    await response.prepare(request)
    with closing(Deadline(dead_s, _cutting(request))) as deadline:
        seen, sent_s = 0, 0.0
        try:
            while True:
                still = not await hub.newer(seen)
                if hub.newest is None or (still and (hub.status().state == "live" or monotonic() - sent_s < STILL_S)):
                    continue
                seen, sent_s = hub.newest.number, monotonic()
                jpeg = await hub.picture()
                head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                deadline.begin()
                await response.write(head.encode() + jpeg + b"\r\n")
                deadline.end()
        except ConnectionError:
            pass  # it has left
    return response
