"""Between the stream's thread and the viewers: each frame is encoded once for all of them, and only if one waits."""

import asyncio
from collections.abc import Callable, Hashable
from concurrent.futures import Executor
from time import monotonic
from typing import Generic, TypeVar

from runtime.overlay import Look
from runtime.serve.channel import Channel, Shot
from runtime.serve.encoding import Packet, masks, note, packet, painted_jpeg, snapshot
from runtime.stream.status import Status

Made = TypeVar("Made")
Wish = Callable[[], tuple[Hashable, Callable[[], Made]]]

STATUS_S = 0.2
"""How long a status is good for viewers: to find it out costs about as much as a message."""

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
    """

    def __init__(self, channel: Channel, pool: Executor) -> None:
        self._channel, self._pool = channel, pool
        self._packets: Once[Packet] = Once(pool)
        self._pictures: Once[bytes] = Once(pool)
        self._snapshots: Once[bytes] = Once(pool)
        self._masks: Once[bytes] = Once(pool)
        self._news, self._told = asyncio.Event(), False
        self._status: tuple[float, Status] | None = None
        loop = asyncio.get_running_loop()

        def tell() -> None:
            if not self._told:  # or a fast stream fills the loop's queue
                self._told = True
                loop.call_soon_threadsafe(self._wake)

        channel.on_news(tell)

    def close(self) -> None:
        """Let the stream go on alone."""
        self._channel.on_news(None)

    def _wake(self) -> None:
        self._told, news = False, self._news
        self._news, self._status = asyncio.Event(), None
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

    async def newer(self, number: int, timeout_s: float) -> bool:
        """Wait for a frame after that number, and tell whether there is one."""
        end_s = monotonic() + timeout_s
        while (newest := self.newest) is None or newest.number <= number:
            news, left_s = self._news, end_s - monotonic()
            if left_s <= 0:
                return False
            try:
                await asyncio.wait_for(news.wait(), left_s)
            except asyncio.TimeoutError:
                return False
        return True

    async def packet(self) -> Packet:
        """Encode the newest frame and its labels apart."""

        def wish() -> tuple[Hashable, Callable[[], Packet]]:
            shot = self._shot()
            return shot.number, lambda: packet(shot)

        return await self._packets.get(wish)

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
            if self.status().state == "live":
                await self.newer(before, FRESH_S)
            return None if self.newest is None else await once.get(wish)
