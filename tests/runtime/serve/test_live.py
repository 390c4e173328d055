"""The WebSocket. Oracles: another library's client, Pillow, counts of what was encoded and sent."""

import asyncio
import io
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import numpy as np
import pytest
from PIL import Image

from runtime.serve import hub
from runtime.serve.messages import message

Viewer = aiohttp.ClientWebSocketResponse
FIXED = {"frame", "time_s", "age_ms", "state", "width", "height", "jpeg", "labels", "words_version"}


def watch(server: Any, see: Callable[[aiohttp.ClientSession, str], Awaitable[None]], seconds: float = 20) -> None:
    async def run() -> None:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            await asyncio.wait_for(see(session, f"{server.address}live"), seconds)

    asyncio.run(run())


async def received(viewer: Viewer, *, picture: bool = False) -> tuple[dict[str, Any], bytes, bytes]:
    """The next message, or the next with a picture; those before it are acknowledged."""
    while True:
        data = await viewer.receive_bytes()
        line, rest = data.split(b"\n", 1)
        about = json.loads(line)
        assert set(about) >= FIXED
        assert len(rest) == about["jpeg"] + about["labels"]
        if about["jpeg"] or not picture:
            return about, rest[: about["jpeg"]], rest[about["jpeg"] :]
        await viewer.send_json({"ack": about["frame"]})


def test_a_message_is_a_line_a_picture_and_labels(stream: Any, serve: Any) -> None:
    server = serve()
    result = stream.step()

    async def see(session: aiohttp.ClientSession, url: str) -> None:
        async with session.ws_connect(url) as viewer:
            about, jpeg, labels = await received(viewer)
            assert (about["frame"], about["state"], about["width"], about["height"]) == (0, "live", 768, 432)
            assert about["age_ms"] > 0
            assert about["words"]["names"] == ["background", "car", "road"]
            assert about["words"]["unpainted"] == 0
            assert about["coverage"] == pytest.approx(list(result.coverage().values()), abs=1e-4)
            assert np.array(Image.open(io.BytesIO(jpeg))).shape == (432, 768, 3)
            shown = np.array(Image.open(io.BytesIO(labels)))
            assert shown.shape == (288, 512)
            rows, columns = (np.floor((np.arange(n) + 0.5) * 1.5).astype(int) for n in shown.shape)
            assert np.array_equal(shown, result.mask[rows[:, None], columns])

    watch(server, see)


def test_nothing_more_comes_before_the_answer_and_then_the_newest(stream: Any, serve: Any) -> None:
    server = serve()
    stream.step()

    async def see(session: aiohttp.ClientSession, url: str) -> None:
        async with session.ws_connect(url) as viewer:
            first, *_ = await received(viewer)
            for _ in range(5):
                stream.step()
            with pytest.raises(asyncio.TimeoutError):
                await viewer.receive(timeout=0.7)  # longer than a heartbeat
            await viewer.send_json({"ack": 77})  # of a frame that was not sent
            await viewer.send_json({"ack": first["frame"]})
            second, *_ = await received(viewer)
            assert (first["frame"], second["frame"]) == (0, 5)
            assert "words" not in second

    watch(server, see)


def test_the_state_is_told_without_a_frame(stream: Any, serve: Any) -> None:
    server = serve(heartbeat_s=0.05)

    async def see(session: aiohttp.ClientSession, url: str) -> None:
        async with session.ws_connect(url) as viewer:
            about, *_ = await received(viewer)
            assert (about["frame"], about["jpeg"], about["labels"], about["age_ms"]) == (None, 0, 0, None)
            stream.step()
            await viewer.send_json({"ack": None})
            about, *_ = await received(viewer, picture=True)
            stream.state = "stale"
            stream.channel.idle("stale", 2.0)
            await viewer.send_json({"ack": 0})
            about, *_ = await received(viewer)
            assert (about["frame"], about["jpeg"], about["state"]) == (0, 0, "stale")
            assert about["problem"] == "rtsp://camera/ does not answer"

    watch(server, see)


def test_what_is_told_without_a_frame_is_about_the_last_that_a_viewer_got(stream: Any) -> None:
    """While the message is made, the stream may keep the next, which nobody has acknowledged."""
    with stream.channel.watching():
        stream.step()
        got = stream.channel.newest
        stream.step()
    assert json.loads(message(None, got, stream.status(), words=False))["frame"] == 0


def test_words_come_with_their_first_frame(stream: Any, serve: Any, ask: Any) -> None:
    """Two messages after a change at most, labels and names belong together: every index has a name."""
    server = serve()
    stream.step()

    async def see(session: aiohttp.ClientSession, url: str) -> None:
        async with session.ws_connect(url) as viewer:
            await received(viewer)
            asked = await asyncio.to_thread(ask, server, "/words", "PUT", {"classes": ["wheel"], "background": None})
            assert asked.status == 200
            stream.step()
            await viewer.send_json({"ack": 0})
            about, _, labels = await received(viewer)
            assert (about["frame"], about["words_version"]) == (1, 2)
            assert about["words"]["names"] == ["wheel"]
            assert about["words"]["colours"] == asked.json["colours"]
            assert not np.array(Image.open(io.BytesIO(labels))).any()

    watch(server, see)


@pytest.mark.parametrize("answer", ["no json", "[]", '{"ok": 1}', b"bytes", "x" * 2000, "[" * 900])
def test_who_answers_otherwise_is_let_go(stream: Any, serve: Any, answer: Any) -> None:
    server = serve()
    stream.step()

    async def see(session: aiohttp.ClientSession, url: str) -> None:
        async with session.ws_connect(url) as viewer:
            await received(viewer)
            await (viewer.send_bytes(answer) if isinstance(answer, bytes) else viewer.send_str(answer))
            assert (await viewer.receive()).type is aiohttp.WSMsgType.CLOSE

    watch(server, see)


def test_a_viewer_too_many_is_told_so(stream: Any, serve: Any, ask: Any) -> None:
    server = serve()
    stream.step()

    async def see(session: aiohttp.ClientSession, url: str) -> None:
        viewers = [await session.ws_connect(url) for _ in range(100)]
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(url)
        assert refused.value.status == 503
        assert (await asyncio.to_thread(ask, server, "/stream.mjpg")).status == 503
        assert (await asyncio.to_thread(ask, server, "/healthz")).status == 200
        await viewers[0].close()
        await asyncio.sleep(0.1)
        await (await session.ws_connect(url)).close()

    watch(server, see)


def test_a_request_that_is_no_websocket_is_told_so(stream: Any, serve: Any, ask: Any) -> None:
    assert ask(serve(), "/live").status == 426


def test_a_token_opens_the_websocket(stream: Any, serve: Any) -> None:
    server = serve(token="secret")
    stream.step()

    async def see(session: aiohttp.ClientSession, url: str) -> None:
        with pytest.raises(aiohttp.WSServerHandshakeError, match="401"):
            await session.ws_connect(url)
        async with session.ws_connect(url, headers={"Authorization": "Bearer secret"}) as viewer:
            assert (await received(viewer))[0]["frame"] == 0

    watch(server, see)


def test_slow_and_dead_viewers_cost_the_stream_nothing(stream: Any, serve: Any, monkeypatch: Any) -> None:
    """Of 100, a third keeps up, a third is slow, a third takes nothing. Counted: encodings and messages."""
    encoded: list[int] = []
    packet = hub.packet

    def counting(shot: Any) -> Any:
        encoded.append(shot.number)
        return packet(shot)

    monkeypatch.setattr(hub, "packet", counting)
    server = serve(dead_s=1.0)
    got: dict[int, list[int]] = {number: [] for number in range(67)}
    request = (
        f"GET /live HTTP/1.1\r\nHost: localhost:{server.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    dead = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(33)]
    for connection in dead:
        connection.sendall(request.encode())

    async def see(session: aiohttp.ClientSession, url: str) -> None:
        over = asyncio.Event()

        async def viewer(number: int) -> None:
            async with session.ws_connect(url) as opened:
                while not over.is_set():
                    about, *_ = await received(opened, picture=True)
                    got[number].append(about["frame"])
                    await asyncio.sleep(0.3 if number % 2 else 0)
                    await opened.send_json({"ack": about["frame"]})

        tasks = [asyncio.create_task(viewer(number)) for number in got]
        for _ in range(25):
            await asyncio.sleep(0.05)
            stream.step()  # here, so that what write() waits for would stop everything
        over.set()
        for _ in range(3):
            stream.step()
            await asyncio.sleep(0.1)
        await asyncio.gather(*tasks)

    watch(server, see)
    assert len(encoded) == len(set(encoded)) <= stream.frames  # once for all, at most once a frame
    for frames in got.values():
        assert frames == sorted(set(frames))  # never one twice, never an older one
    quick, slow = (max(len(got[number]) for number in range(first, 67, 2)) for first in (0, 1))
    assert quick > slow > 0
    for connection in dead:  # each was sent one message, and then hung up on
        messages = b""
        while part := connection.recv(1 << 20):
            messages += part
        assert messages.count(b'{"frame":') == 1
        connection.close()
