"""What is answered at which path."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from http import HTTPStatus
from typing import Any

from aiohttp import web

from runtime.errors import VocabularyError
from runtime.serve.channel import Channel
from runtime.serve.guard import refusal
from runtime.serve.hub import Hub
from runtime.serve.limits import Limits, Rate, Viewers
from runtime.serve.messages import rounded
from runtime.serve.metrics import exposition
from runtime.serve.viewers import Show, live, motion_jpeg
from runtime.stream.status import Status

WELL = ("live", "ended")


def health(status: Status) -> dict[str, Any]:
    """Tell what `/healthz` tells of a stream."""
    return {
        "state": status.state,
        "age_ms": rounded(status.age_ms),
        "frames": status.frames,
        "dropped": status.dropped,
        "reconnects": status.reconnects,
        "fps": rounded(status.fps),
    }


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
        router.add_get(f"{prefix}/stream.mjpg", self._watching(motion_jpeg), allow_head=False)
        router.add_get(f"{prefix}/live", self._watching(live), allow_head=False)

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

    def _watching(self, show: Show) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(request: web.Request) -> web.StreamResponse:
            if self._viewers.full:
                error = f"{self._viewers.most} watch already, which is the most: try again later"
                return refusal(HTTPStatus.SERVICE_UNAVAILABLE, error)
            with self._viewers.one_more(), self._channel.watching():
                return await show(request, self._hub, self._limits.dead_s)

        return answer


def metrics(statuses: Mapping[str, Status], viewers: int) -> web.Response:
    """Answer Prometheus."""
    body = exposition(statuses, viewers)
    return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})
