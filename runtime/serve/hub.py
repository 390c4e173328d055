"""Between the stream's thread and the viewers: each frame is encoded once for all of them, and only if one waits."""

import asyncio
from collections.abc import Callable, Hashable
from concurrent.futures import Executor
from time import monotonic
from typing import Generic, TypeVar

from runtime.overlay import Look
from runtime.serve.channel import Channel, Shot
from runtime.serve.encoding import Packet, masks, note, packet, painted_jpeg, snapshot
from runtime.serve.messages import message
from runtime.stream.status import Status

Made = TypeVar("Made")
Wish = Callable[[], tuple[Hashable, Callable[[], Made]]]

STATUS_S = 0.2
"""How long a status is good for viewers: to find it out costs about as much as a message."""

MESSAGE_S = 0.02
"""How long a message is: it tells the age of the frame."""

FRESH_S = 1.5
"""How long whoever asks for one picture waits for the next, if nobody watches: the kept one may be a second old."""


class Once(Generic[Made]):
    """Makes something in a thread, once for all who want it at the same time.

    Args:
        pool: whose threads.
    """

    def __init__(self, pool: Executor) -> None:
        self._pool, self._turn = pool, asyncio.Lock()
        self._made: tuple[Hashable, Made] | None = None

    async def get(self, wish: Wish[Made]) -> Made:
        """Give what was made last, if its key is still the same, and make it otherwise.

        Args:
            wish: gives the key and how to make it, when it is one's turn: so nobody gets what is older than what
                others got already.
        """
        async with self._turn:
            key, make = wish()
            if self._made is None or self._made[0] != key:
                self._made = key, await asyncio.get_running_loop().run_in_executor(self._pool, make)
            return self._made[1]


class Hub:
    """The newest frame of a channel, for any number of viewers. Belongs to the event loop that it is made in.

    Args:
        channel: where the frames come from.
        pool: for encoding.
        heartbeat_s: after which those who wait are woken although nothing is new.
    """

    def __init__(self, channel: Channel, pool: Executor, heartbeat_s: float) -> None:
        self._channel, self._pool = channel, pool
        self._packets: Once[Packet] = Once(pool)
        self._pictures: Once[bytes] = Once(pool)
        self._snapshots: Once[bytes] = Once(pool)
        self._masks: Once[bytes] = Once(pool)
        self._news, self._told = asyncio.Event(), False
        self._heard: Shot | None = None
        self._status: tuple[float, Status] | None = None
        self._message: tuple[Hashable, float, bytes] | None = None
        self._heartbeat_s, self._loop = heartbeat_s, asyncio.get_running_loop()
        self._ticking = self._loop.call_later(heartbeat_s, self._tick)

        def tell() -> None:
            if not self._told:  # or a fast stream fills the loop's queue
                self._told = True
                self._loop.call_soon_threadsafe(self._wake)

        channel.on_news(tell)

    def close(self) -> None:
        """Let the stream go on alone."""
        self._channel.on_news(None)
        self._ticking.cancel()

    def _tick(self) -> None:
        # One timer for all: a thousand a second that are never due would cost more than what is sent.
        self._wake()
        self._ticking = self._loop.call_later(self._heartbeat_s, self._tick)

    def _wake(self) -> None:
        self._told, news = False, self._news
        # The state is found out anew when it may be another, not with every frame.
        if self.newest is self._heard or (self._status is not None and self._status[1].state != "live"):
            self._status = None
        self._heard = self.newest
        self._news = asyncio.Event()
        news.set()

    @property
    def newest(self) -> Shot | None:
        """The frame that was kept last."""
        return self._channel.newest

    def status(self) -> Status:
        """Tell how the stream is, or was a moment ago."""
        now_s = monotonic()
        if self._status is None or now_s - self._status[0] > STATUS_S:
            self._status = now_s, self._channel.status()
        return self._status[1]

    async def newer(self, number: int) -> bool:
        """Wait for a frame after that number, for another state or for a heartbeat, and tell whether it is a frame."""
        if not self._is_newer(number):
            await self._news.wait()
        return self._is_newer(number)

    def _is_newer(self, number: int) -> bool:
        return self.newest is not None and self.newest.number > number

    async def packet(self) -> Packet:
        """Encode the newest frame and its labels apart."""

        def wish() -> tuple[Hashable, Callable[[], Packet]]:
            shot = self._shot()
            return shot.number, lambda: packet(shot)

        return await self._packets.get(wish)

    def message(self, packet: Packet | None, shot: Shot | None, *, words: bool) -> bytes:
        """Put a message together, once for all who get it at about the same time: see `runtime.serve.messages`."""
        key, now_s = (packet, shot, words), monotonic()
        if self._message is None or self._message[0] != key or now_s - self._message[1] > MESSAGE_S:
            self._message = key, now_s, message(packet, shot, self.status(), words=words)
        return self._message[2]

    async def picture(self) -> bytes:
        """Encode the newest frame painted, as JPEG."""
        return await self._pictures.get(self._painted(painted_jpeg))

    async def snapshot(self) -> bytes | None:
        """Encode a frame painted, as PNG of the frame's size; None if there never was one."""
        return await self._fresh(self._snapshots, self._painted(snapshot))

    async def masks(self) -> bytes | None:
        """Encode the class indices of a frame as PNG of the frame's size; None if there never was one."""
        return await self._fresh(self._masks, self._painted(lambda shot, look, status: masks(shot)))

    def _shot(self) -> Shot:
        assert self.newest is not None  # what is asked for has come
        return self.newest

    def _painted(self, make: Callable[[Shot, Look, Status], bytes]) -> Wish[bytes]:
        def wish() -> tuple[Hashable, Callable[[], bytes]]:
            shot, status = self._shot(), self.status()
            return (shot.number, note(status)), lambda: make(shot, self._channel.look, status)

        return wish

    async def _fresh(self, once: Once[bytes], wish: Wish[bytes]) -> bytes | None:
        with self._channel.watching():
            before = 0 if self.newest is None else self.newest.number
            end_s = monotonic() + FRESH_S
            while self.status().state == "live" and monotonic() < end_s and not await self.newer(before):
                pass
            return None if self.newest is None else await once.get(wish)
