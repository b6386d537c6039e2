"""Redis clients, and a circuit breaker so that a failing Redis does not slow every request."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, TypeVar

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, ReadOnlyError, RedisError, ResponseError

from app.config import Settings
from app.infra.traces import Traces

log = structlog.get_logger(__name__)

T = TypeVar("T")

RETRY_EVERY = 1.0  # seconds between two tries while Redis fails
LONGEST_STALL = 1.0  # seconds; a client whose loop stalls for longer gives up

REDIS_FAILURES = (RedisError, OSError, TimeoutError)


class RedisUnavailable(Exception):
    """The command was not sent, failed, or was not answered in time.

    `applied` is False if Redis can't have executed the command, None if that is unknown.
    """

    def __init__(self, reason: str, *, applied: bool | None) -> None:
        super().__init__(reason)
        self.applied = applied


class LoopTimeout:
    """`asyncio.timeout` that counts only the time in which the event loop turns.

    If the loop stalls, it also stalls the answers that have arrived. So the time is counted in
    steps, and a stall counts as one of them, however long it is. The other steps are enough to
    read an answer.

    It cancels its block again each time that as many steps have passed. A cancellation can get
    lost: `asyncio.wait_for`, which redis-py uses, drops one that comes as it ends (before
    Python 3.12).
    """

    STEPS = 4

    def __init__(self, seconds: float) -> None:
        self._step = seconds / self.STEPS
        self._steps = 0
        self._cancelled = 0  # how often

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None, "a coroutine runs in a task"
        self._task = task
        self._before = task.cancelling()
        self._loop = asyncio.get_running_loop()
        self._wait()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._handle.cancel()
        for _ in range(self._cancelled):
            self._task.uncancel()
        # If somebody else has cancelled it, too, it ends as cancelled.
        ours = self._cancelled and self._task.cancelling() <= self._before
        if ours and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _wait(self) -> None:
        self._handle = self._loop.call_later(self._step, self._count)

    def _count(self) -> None:
        self._steps += 1
        if self._steps % self.STEPS == 0:
            self._cancelled += 1
            self._task.cancel()
        self._wait()


class CircuitBreaker:
    """A circuit breaker around Redis: after a failure it is open, and callers fail at once.

    Once a second it is half-open: one command is tried, for at most `limit` seconds, and a success
    closes it. All others fail at once, so that their callers use the fallback. `on_open` is called
    each time that it opens.
    """

    def __init__(self, limit: float, *, on_open: Callable[[], None] = lambda: None) -> None:
        self.limit = limit
        self._on_open = on_open
        self._failing = False
        self._open_until = 0.0

    @property
    def failing(self) -> bool:
        return self._failing

    def allow(self) -> bool:
        """Whether the caller may use Redis now. While Redis fails, one caller a second may."""
        if not self._failing:
            return True
        now = time.monotonic()
        if now < self._open_until:
            return False
        self._open_until = now + RETRY_EVERY
        return True

    async def run(self, command: Awaitable[T], *, always: bool = False) -> T:
        """Await the command for at most `limit` seconds. Raises `RedisUnavailable`.

        With `always` it is tried even while the breaker is open: for writes that must not be
        skipped.
        """
        if not always and not self.allow():
            if asyncio.iscoroutine(command):
                command.close()
            raise RedisUnavailable("the circuit breaker is open", applied=False)
        try:
            async with LoopTimeout(self.limit):
                answer = await command
        except REDIS_FAILURES as error:
            self._open(error)
            raise RedisUnavailable(type(error).__name__, applied=_applied(error)) from error
        if self._failing:
            self._failing = False
            log.info("redis_recovered")
        return answer

    def _open(self, error: Exception) -> None:
        self._open_until = time.monotonic() + RETRY_EVERY
        if not self._failing:
            self._failing = True
            self._on_open()
            log.warning("redis_failing", error=type(error).__name__, detail=str(error)[:200])


def _applied(error: Exception) -> bool | None:
    """False if Redis refused the command or the connection, else None: unknown."""
    refused = isinstance(error.__context__, ConnectionRefusedError)
    return False if refused or isinstance(error, (ResponseError, BusyLoadingError)) else None


class ToPrimary:
    """A connection that is closed after use if its server has become a replica (a failover)."""

    async def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*args, **options)  # type: ignore[misc] # a mixin
        except ReadOnlyError:
            self.mark_for_reconnect()  # type: ignore[attr-defined] # a mixin
            raise


class PrimaryPool(BlockingConnectionPool):
    """A pool that closes all idle connections when one has found out that its server is a replica.

    New ones lead to the primary, if the host in REDIS_URL does.
    """

    async def release(self, connection: AbstractConnection) -> None:
        to_replica = connection.should_reconnect()  # type: ignore[no-untyped-call] # redis-py's
        await super().release(connection)
        if to_replica:
            await self.disconnect(inuse_connections=False)


def make_redis(
    settings: Settings,
    *,
    timeout: float | None = None,
    size: int = 20,
    traces: Traces | None = None,
) -> Redis:
    """A client that fails within `timeout` seconds (by default REDIS_TIMEOUT) and never retries.

    Callers have a fallback. With redis-py's default of ten retries they would wait for seconds.
    With `traces` its commands are in the trace of the request or the job that sends them.
    """
    limit = settings.redis_timeout if timeout is None else timeout
    pool = PrimaryPool.from_url(
        settings.redis_dsn,
        max_connections=size,
        timeout=limit,
        socket_timeout=limit,
        socket_connect_timeout=limit,
        retry=Retry(NoBackoff(), 0),
        protocol=3,
        driver_info=None,  # sending it takes two more round trips for each new connection
    )
    pool.connection_class = type("PrimaryConnection", (ToPrimary, pool.connection_class), {})
    return traces.redis(pool) if traces else Redis.from_pool(pool)
