"""The web server: a thread beside the stream."""

import asyncio
import re
import socket
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from pathlib import Path
from threading import Thread
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from runtime.closing import Closing
from runtime.errors import UsageError
from runtime.serve.channel import Channel
from runtime.serve.guard import Guard, bracketed, is_loopback, refusal
from runtime.serve.hub import Hub
from runtime.serve.limits import Limits, Rate, Viewers
from runtime.serve.routes import WELL, Routes, health, metrics

PAGE = Path(__file__).parent / "page"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")
RESERVED = ("healthz", "metrics", "page")
"""Paths of the whole server where it has several sources."""

WAIT_S = 1.0
"""For the thread, when the server ends."""


class Server(Closing):
    """Serves the page and the interface for programs, in a thread of its own.

    Args:
        channels: by the name of the source; one alone is served at /, several at /NAME/.
        host: name or address to listen at.
        port: 0 for any that is free.
        token: to be known; needed where other machines reach the server.
        limits: what it bears.

    Raises:
        UsageError: others could reach it without a token, the token is empty, or a name cannot be part of a path.
    """

    def __init__(
        self,
        channels: Mapping[str, Channel],
        host: str,
        port: int,
        token: str | None = None,
        *,
        limits: Limits | None = None,
    ) -> None:
        if token is not None and not token.strip():
            raise UsageError(
                "--token is empty: give one that nobody guesses, or leave it out to serve this machine only"
            )
        if token is None and not is_loopback(host):
            raise UsageError(
                f"--serve {host}:{port} lets other machines see the pictures and change the words: add --token, or "
                f"serve this machine only by --serve {port}"
            )
        for name in channels if len(channels) > 1 else ():
            if not NAME.fullmatch(name) or name in RESERVED:
                raise UsageError(
                    f"the source {name!r} cannot be part of a path: letters, digits, _, - and . are taken, but not "
                    f"{', '.join(RESERVED)}"
                )
        self._channels, self._token, self._limits = dict(channels), token, limits or Limits()
        self._asked = host, port
        self._thread: Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self.host, self.port = host, port

    @property
    def address(self) -> str:
        """Where a browser finds it."""
        host = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(self.host, self.host)
        return f"http://{bracketed(host)}{'' if self.port == 80 else f':{self.port}'}/"

    def start(self) -> None:
        """Listen; returns once it does.

        Raises:
            UsageError: it cannot listen there.
        """
        listening = _listening(*self._asked)
        self.port = listening.getsockname()[1]
        started: Future[None] = Future()
        self._thread = Thread(target=asyncio.run, args=(self._serve(listening, started),), name="serve", daemon=True)
        self._thread.start()
        started.result()

    def close(self) -> None:
        """Stop listening, and let go of all who watch."""
        thread, self._thread = self._thread, None
        if thread is not None and self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            thread.join(WAIT_S)

    async def _serve(self, listening: socket.socket, started: "Future[None]") -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        pool = ThreadPoolExecutor(2, "serve")
        hubs = {name: Hub(channel, pool, self._limits.heartbeat_s) for name, channel in self._channels.items()}
        doorman = _Doorman(self._limits)
        app = self._application(hubs, pool, doorman)
        runner = web.AppRunner(
            app,
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=0.1,
            keepalive_timeout=self._limits.idle_s,
        )
        try:
            await runner.setup()
            server = await self._loop.create_server(partial(doorman, runner), sock=listening)
            started.set_result(None)
            await self._stop.wait()
            server.close()
        except BaseException as error:
            if not started.done():
                started.set_exception(error)
            raise
        finally:
            for hub in hubs.values():
                hub.close()
            transports = [] if runner.server is None else [handler.transport for handler in runner.server.connections]
            await runner.cleanup()
            for transport in transports:
                if transport is not None:
                    transport.abort()  # whoever does not read would not take what is left for it
            await asyncio.sleep(0)
            pool.shutdown(wait=False, cancel_futures=True)

    def _application(self, hubs: Mapping[str, Hub], pool: ThreadPoolExecutor, doorman: "_Doorman") -> web.Application:
        several = len(hubs) > 1
        prefixes = {name: f"/{name}" if several else "" for name in hubs}
        pages = frozenset({"/", *(f"{prefix}/" for prefix in prefixes.values())})
        guard = Guard(self.host, self.port, self._token, self._limits.body_bytes, pages)

        @web.middleware
        async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
            doorman.hears(request)
            try:
                return await guard(request, handler)
            except web.HTTPException as error:
                return refusal(HTTPStatus(error.status), _told(error, request))

        app = web.Application(middlewares=[guarded], client_max_size=self._limits.body_bytes)
        app.on_response_prepare.append(guard.prepare)
        viewers = Viewers(self._limits.viewers)
        changes = Rate(self._limits.changes_per_s, self._limits.changes_at_once)
        for name, hub in hubs.items():
            routes = Routes(self._channels[name], hub, viewers, changes, self._limits, pool)
            routes.add_to(app.router, prefixes[name])
            _add_page(app.router, prefixes[name], "index.html")
        if several:
            _add_page(app.router, "", "overview.html")
            self._add_overview(app.router, viewers)
        return app

    def _add_overview(self, router: web.UrlDispatcher, viewers: Viewers) -> None:
        """Add what tells of all sources together."""

        async def healthz(_: web.Request) -> web.Response:
            statuses = {name: channel.status() for name, channel in self._channels.items()}
            well = all(status.state in WELL for status in statuses.values())
            told = {name: health(status) for name, status in statuses.items()}
            return web.json_response(told, status=200 if well else 503)

        async def all_metrics(_: web.Request) -> web.Response:
            return metrics({name: channel.status() for name, channel in self._channels.items()}, viewers.count)

        router.add_get("/healthz", healthz)
        router.add_get("/metrics", all_metrics)


class _Doorman:
    """Makes the handler of each connection, hangs up on those that send no request, and on those that are too many."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._silent: dict[object, asyncio.TimerHandle] = {}
        self._coming = 0

    def hears(self, request: web.Request) -> None:
        """Remember that a request came over a connection."""
        if timer := self._silent.pop(request.protocol, None):
            timer.cancel()

    def __call__(self, runner: web.AppRunner) -> asyncio.BaseProtocol:
        server = runner.server
        assert server is not None  # it is set up
        if len(server.connections) + self._coming >= self._limits.connections:
            return _Refused()
        handler, loop = server(), asyncio.get_running_loop()
        self._silent[handler] = loop.call_later(self._limits.request_s, self._hang_up, handler)
        self._coming += 1  # the server counts it a moment later
        loop.call_soon(self._come)
        return handler

    def _come(self) -> None:
        self._coming -= 1

    def _hang_up(self, handler: web.RequestHandler) -> None:
        del self._silent[handler]
        if handler.transport is not None:
            handler.transport.close()


class _Refused(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _listening(host: str, port: int) -> socket.socket:
    try:
        if not 0 <= port <= 65_535:  # which the system takes modulo 65,536
            raise OverflowError("there is no such port")
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        both = host == "::" and socket.has_dualstack_ipv6()  # the name of this machine leads to either
        return socket.create_server(address[:2], family=family, dualstack_ipv6=both)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"--serve cannot listen at {bracketed(host)}:{port} ({reason}): choose another port, or 0 for any free one"
        ) from None


def _add_page(router: web.UrlDispatcher, prefix: str, page: str) -> None:
    """Add a page and the files that it needs; they are read once, and lie beside it."""

    def file(path: Path) -> Any:
        body = path.read_bytes()

        async def answer(_: web.Request) -> web.Response:
            return web.Response(body=body, content_type=TYPES[path.suffix], charset="utf-8")

        return answer

    async def onward(_: web.Request) -> web.Response:
        return web.Response(status=HTTPStatus.PERMANENT_REDIRECT, headers={"Location": f"{prefix}/"})

    router.add_get(f"{prefix}/", file(PAGE / page))
    if prefix:
        router.add_get(prefix, onward)
    for path in sorted(PAGE.iterdir()):
        if path.suffix in TYPES and path.suffix != ".html":
            router.add_get(f"{prefix}/page/{path.name}", file(path))


def _told(error: web.HTTPException, request: web.Request) -> str:
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return "the body is too large: 64 KiB are taken"
    return f"{error.reason}: {request.method} {request.path}"[:200]
