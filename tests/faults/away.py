"""Ways in which Postgres or Redis is away: stopped, frozen, or behind a slow or silent network."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Self

from dev.lifecycle import Server

Away = Callable[[Any], AbstractAsyncContextManager[None]]  # of the server


@asynccontextmanager
async def stopped(server: Server) -> AsyncIterator[None]:
    await asyncio.to_thread(server.stop)
    yield
    await asyncio.to_thread(server.start)


@asynccontextmanager
async def frozen(server: Server) -> AsyncIterator[None]:
    server.freeze()
    yield
    server.thaw()


class Proxy:
    """Forwards to a port of this machine, in both directions `delay` seconds late.

    After `silence`, open connections never transport anything again, as with an unplugged cable
    or a lost NAT entry. After `heal`, new connections work.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.delay = 0.0
        self.port = 0
        self._silent = False
        self._pumps: list[asyncio.Task[None]] = []
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.silence()
        for writer in self._writers:
            writer.close()
        closing = (writer.wait_closed() for writer in self._writers)
        await asyncio.gather(*self._pumps, *closing, return_exceptions=True)

    def silence(self) -> None:
        self._silent = True
        for pump in self._pumps:
            pump.cancel()

    def heal(self) -> None:
        self._silent = False

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        if self._silent:
            return
        upstream, downstream = await asyncio.open_connection("127.0.0.1", self.target)
        self._writers.append(downstream)
        for pump in (self._pump(reader, downstream), self._pump(upstream, writer)):
            self._pumps.append(asyncio.create_task(pump))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):  # the other end is closed
            while chunk := await reader.read(65_536):
                await asyncio.sleep(self.delay)
                writer.write(chunk)
                await writer.drain()
        writer.close()
