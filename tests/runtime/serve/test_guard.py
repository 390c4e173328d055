"""Who may ask, where other machines can. Oracle: a client on this one; no test listens for others."""

import asyncio
from http import HTTPStatus
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from runtime.serve.guard import Guard, bracketed, is_loopback

BEARER = {"Authorization": "Bearer secret"}


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {"Host": "robot.local", **BEARER}, 200),
        ("GET", {"Host": "10.0.0.7:8080", **BEARER}, 200),
        ("GET", {"Host": "robot.local"}, 401),
        ("PUT", {"Host": "robot.local", **BEARER, "Origin": "http://robot.local"}, 200),
        ("PUT", {"Host": "robot.local", **BEARER, "Origin": "https://robot.local"}, 200),
        ("PUT", {"Host": "robot.local", **BEARER, "Origin": "http://evil.example"}, 403),
        ("GET", {"Host": "robot.local", **BEARER, "Origin": "http://evil", "Upgrade": "websocket"}, 403),
    ],
)
def test_elsewhere_any_name_is_good_with_the_token_only(method: str, headers: dict[str, str], status: int) -> None:
    """Listening at 0.0.0.0, a machine has names that nobody here knows."""
    guard = Guard("0.0.0.0", 80, "secret", 1000, frozenset("/"))

    @web.middleware
    async def guarded(request: web.Request, handler: Any) -> web.StreamResponse:
        return await guard(request, handler)

    async def answer(_: web.Request) -> web.Response:
        return web.Response()

    async def ask() -> int:
        app = web.Application(middlewares=[guarded])
        app.router.add_route("*", "/words", answer)
        async with TestServer(app) as server, ClientSession() as client:
            return (await client.request(method, server.make_url("/words"), headers=headers)).status

    assert HTTPStatus(asyncio.run(ask())) == status


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.0.1", "::1"])
def test_only_this_machine_reaches_these(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "192.168.0.1", "localhost.example", "127.0.0.1.example"])
def test_others_reach_these(host: str) -> None:
    assert not is_loopback(host)


def test_addresses_are_written_as_in_a_url() -> None:
    assert (bracketed("::1"), bracketed("127.0.0.1"), bracketed("robot.local")) == ("[::1]", "127.0.0.1", "robot.local")
