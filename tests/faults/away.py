"""Ways in which Postgres or Redis is away: stopped, frozen, refusing, or behind a bad network."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Self

from redis import Redis
from redis.exceptions import BusyLoadingError, RedisError

from dev.lifecycle import Server
from dev.redis import as_admin
from dev.servers import RedisServer
from tests.polling import until
from tests.sockets import unused_port

KEYS = 2000
LOADS_FOR = 15.0  # seconds
SMALL_STEPS = {"loading-process-events-interval-bytes": "1024"}

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


@asynccontextmanager
async def loading(redis: RedisServer) -> AsyncIterator[None]:
    """It reads its data after a restart, for some seconds, and refuses all commands meanwhile."""
    with Redis.from_url(as_admin(redis.url)) as admin:
        admin.mset({f"large:{number}": "x" for number in range(KEYS)})
        delay = LOADS_FOR / int(admin.dbsize())  # other tests have left keys, too
        admin.bgrewriteaof()
        await asyncio.to_thread(
            until, lambda: not admin.info("persistence")["aof_rewrite_in_progress"]
        )
    await asyncio.to_thread(redis.stop)
    redis.settings = {"key-load-delay": str(int(delay * 1e6)), **SMALL_STEPS}
    started = asyncio.create_task(asyncio.to_thread(redis.start))
    try:
        await asyncio.to_thread(until, lambda: refusal(redis) == "LOADING")
        yield
        assert refusal(redis) == "LOADING", "it was loaded too early"
        await started
    finally:
        redis.settings = {}
        if not started.done():  # a failed test must not leave a server that loads for ever
            redis.process.kill()
            await asyncio.gather(started, return_exceptions=True)


def refusal(redis: RedisServer) -> str:
    try:
        with Redis.from_url(redis.url) as client:
            client.ping()
    except BusyLoadingError:
        return "LOADING"
    except RedisError as error:
        return str(error)
    return ""


@asynccontextmanager
async def demoted(redis: RedisServer) -> AsyncIterator[None]:
    """After a failover it is a replica: it answers reads and refuses writes."""
    with Redis.from_url(as_admin(redis.url)) as admin:
        admin.replicaof("127.0.0.1", unused_port())
        try:
            yield
        finally:
            admin.replicaof("NO", "ONE")


@asynccontextmanager
async def out_of_memory(redis: RedisServer) -> AsyncIterator[None]:
    """It refuses to write and may delete nothing."""
    with Redis.from_url(as_admin(redis.url)) as admin:
        before = {name: admin.config_get(name)[name] for name in ("maxmemory", "maxmemory-policy")}
        admin.config_set("maxmemory-policy", "noeviction")
        admin.config_set("maxmemory", 1)
        try:
            yield
        finally:
            for name, value in before.items():
                admin.config_set(name, value)


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
