"""A TCP proxy in front of a database: it cuts connections, delays them, and refuses new ones."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from sqlalchemy import make_url

#: Bytes read at once; small, so that a cut may fall into the middle of an answer.
_PIECE = 4096
#: Ways to end a connection: with RST, or politely.
WAYS = ("reset", "close")


@dataclass(frozen=True)
class Weather:
    """What the proxy does to connections by chance; as it is, nothing."""

    #: A connection is cut behind so many bytes at most, both ways together; 0 for never.
    cut_within: int = 0
    #: How many connections are cut so.
    cuts: int = 0
    #: Seconds by which each piece is late, at most.
    delay: float = 0.0
    #: How many new connections are refused after each cut.
    refused: int = 0


class Proxy:
    """Listens on 127.0.0.1 and forwards to a server, as the weather lets it.

    `target`: host and port, or the path of a Unix socket. The same seed makes the same choices for
    the n-th connection.
    """

    def __init__(self, target: tuple[str, int] | str, seed: int = 0) -> None:
        self._target = target
        self._seed = seed
        self._weather = Weather()
        self._connections: set[asyncio.StreamWriter] = set()
        self._to_refuse = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._server: asyncio.Server | None = None
        #: Connections so far, and how many of them were cut and refused.
        self.met = 0
        self.cut = 0
        self.refused = 0
        self.port = 0

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    def stop(self) -> None:
        """Cut what there is, and end."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def become(self, weather: Weather) -> None:
        """Another weather from now on, for connections to come; a delay at once."""
        self._weather, self._to_refuse = weather, 0

    def cut_all(self, way: str = "reset") -> None:
        """Cut every connection that there is."""

        async def cut() -> None:
            for writer in list(self._connections):
                _end(writer, way)
            self.cut += len(self._connections) // 2

        asyncio.run_coroutine_threadsafe(cut(), self._loop).result(10)

    def refuse(self, count: int) -> None:
        """Refuse so many of the next connections."""
        self._to_refuse = count

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._met, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in list(self._connections):
            _end(writer, "reset")
        await asyncio.sleep(0)
        mine = asyncio.current_task()
        rest = [task for task in asyncio.all_tasks() if task is not mine]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _met(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.met += 1
        dice = random.Random(f"{self._seed} {self.met}")
        if self._to_refuse > 0:
            self._to_refuse -= 1
            self.refused += 1
            _end(writer, "reset")
            return
        try:
            if isinstance(self._target, str):
                there = await asyncio.open_unix_connection(self._target)
            else:
                there = await asyncio.open_connection(*self._target)
        except OSError:
            _end(writer, "reset")
            return
        both = {writer, there[1]}
        self._connections |= both
        fate = _Fate(self, dice, (writer, there[1]))
        try:
            await asyncio.gather(
                self._forward(reader, there[1], fate), self._forward(there[0], writer, fate)
            )
        finally:
            self._connections -= both
            for one in both:
                _end(one, "close")

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fate: _Fate
    ) -> None:
        with suppress(OSError):
            while piece := await reader.read(_PIECE):
                if self._weather.delay:
                    await asyncio.sleep(fate.dice.uniform(0, self._weather.delay))
                passed = fate.passed(len(piece))
                writer.write(piece[:passed])
                await writer.drain()
                if passed < len(piece):
                    fate.strike()
                    return
            if writer.can_write_eof():
                writer.write_eof()

    def _may_cut(self, dice: random.Random) -> int | None:
        """Behind how many bytes a new connection is cut; None for one that is left alone."""
        weather = self._weather
        if not weather.cut_within or self.cut >= weather.cuts:
            return None
        return dice.randrange(weather.cut_within)

    def _was_cut(self) -> bool:
        """Count a cut, if there is still one to be made."""
        if self.cut >= self._weather.cuts:
            return False
        self.cut += 1
        self._to_refuse = self._weather.refused
        return True


class _Fate:
    """What happens to one connection."""

    def __init__(
        self, proxy: Proxy, dice: random.Random, sides: tuple[asyncio.StreamWriter, ...]
    ) -> None:
        self.dice = dice
        self._proxy = proxy
        self._sides = sides
        self._left = proxy._may_cut(dice)  # noqa: SLF001 - two halves of one thing

    def passed(self, size: int) -> int:
        """How many of so many bytes still pass."""
        if self._left is None:
            return size
        passed = min(size, self._left)
        self._left -= passed
        if passed < size and not self._proxy._was_cut():  # noqa: SLF001
            self._left = None
            return size
        return passed

    def strike(self) -> None:
        """Cut both sides, each in a way of its own, either of them first."""
        for side in self.dice.sample(self._sides, len(self._sides)):
            _end(side, self.dice.choice(WAYS))


def _end(writer: asyncio.StreamWriter, way: str) -> None:
    """End one side; `reset` drops what was not sent yet."""
    if way == "reset":
        found = writer.get_extra_info("socket")
        with suppress(OSError, AttributeError):
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    else:
        writer.close()


@contextmanager
def proxied(url: str, seed: int = 0) -> Iterator[tuple[Proxy, str]]:
    """A proxy in front of a database until the end of the block, and the URL that leads over it."""
    parsed = make_url(url)
    folder = parsed.query.get("host") or ""
    target: tuple[str, int] | str
    if isinstance(folder, str) and folder.startswith("/"):
        target = f"{folder}/.s.PGSQL.{parsed.query.get('port') or parsed.port or 5432}"
    else:
        default = 5432 if parsed.get_backend_name() == "postgresql" else 3306
        target = (parsed.host or "127.0.0.1", parsed.port or default)
    proxy = Proxy(target, seed)
    proxy.start()
    query = {name: value for name, value in parsed.query.items() if name not in ("host", "port")}
    over = parsed.set(host="127.0.0.1", port=proxy.port, query=query)
    try:
        yield proxy, over.render_as_string(hide_password=False)
    finally:
        proxy.stop()
