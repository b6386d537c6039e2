"""Redis clients, and a circuit breaker so that a failing Redis does not slow every request."""

import asyncio
import time
from collections.abc import Awaitable
from typing import TypeVar

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from app.config import Settings

log = structlog.get_logger(__name__)

T = TypeVar("T")

RETRY_EVERY = 1.0  # seconds between two tries while Redis fails

REDIS_FAILURES = (RedisError, OSError, TimeoutError)


class RedisUnavailable(Exception):
    """The command was not sent, failed, or was not answered in time.

    `applied` is False if Redis can't have executed the command, None if that is unknown.
    """

    def __init__(self, reason: str, *, applied: bool | None) -> None:
        super().__init__(reason)
        self.applied = applied


class CircuitBreaker:
    """A circuit breaker around Redis: after a failure it is open, and callers fail at once.

    Once a second it is half-open: one command is tried, for at most `limit` seconds, and a success
    closes it. All others fail at once, so that their callers use the fallback.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._failing = False
        self._open_until = 0.0

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
            async with asyncio.timeout(self.limit):
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
            log.warning("redis_failing", error=type(error).__name__, detail=str(error)[:200])


def _applied(error: Exception) -> bool | None:
    """False if Redis refused the command or the connection, else None: unknown."""
    refused = isinstance(error.__context__, ConnectionRefusedError)
    return False if refused or isinstance(error, ResponseError) else None


def make_redis(settings: Settings, *, timeout: float | None = None, size: int = 20) -> Redis:
    """A client that fails within `timeout` seconds (by default REDIS_TIMEOUT) and never retries.

    Callers have a fallback. With redis-py's default of ten retries they would wait for seconds.
    """
    limit = settings.redis_timeout if timeout is None else timeout
    pool = BlockingConnectionPool.from_url(
        settings.redis_dsn,
        max_connections=size,
        timeout=limit,
        socket_timeout=limit,
        socket_connect_timeout=limit,
        retry=Retry(NoBackoff(), 0),
        protocol=3,
        driver_info=None,  # sending it takes two more round trips for each new connection
    )
    return Redis.from_pool(pool)
