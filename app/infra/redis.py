"""Redis: the clients, and the gate that keeps a failing Redis from slowing every request."""

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

# While Redis fails, one request a second finds out whether it is back; the others go around it.
GATE_PAUSE = 1.0  # seconds

REDIS_FAILURES = (RedisError, OSError, TimeoutError)


class RedisUnavailable(Exception):
    """Redis was not asked, or did not answer in time.

    `applied` is False when the command can't have been executed, None when nobody knows.
    """

    def __init__(self, reason: str, *, applied: bool | None) -> None:
        super().__init__(reason)
        self.applied = applied


class RedisGate:
    """Bounds every use of Redis in a request, and closes for a moment after a failure.

    Closed means: the caller takes its fallback at once. So a frozen Redis costs one request in
    a second its timeout, and no request more than that.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._failing = False
        self._closed_until = 0.0

    def enter(self) -> bool:
        """May this request use Redis? While it fails, one a second may."""
        if not self._failing:
            return True
        now = time.monotonic()
        if now < self._closed_until:
            return False
        self._closed_until = now + GATE_PAUSE
        return True

    async def run(self, command: Awaitable[T], *, always: bool = False) -> T:
        """Await the command for at most `limit` seconds.

        `always` ignores the gate: for writes that others rely on. Raises `RedisUnavailable`.
        """
        if not always and not self.enter():
            if asyncio.iscoroutine(command):
                command.close()
            raise RedisUnavailable("the gate is closed", applied=False)
        try:
            async with asyncio.timeout(self.limit):
                answer = await command
        except REDIS_FAILURES as error:
            self._close(error)
            raise RedisUnavailable(type(error).__name__, applied=_applied(error)) from error
        if self._failing:
            self._failing = False
            log.info("redis_recovered")
        return answer

    def _close(self, error: Exception) -> None:
        self._closed_until = time.monotonic() + GATE_PAUSE
        if not self._failing:
            self._failing = True
            log.warning("redis_failing", error=type(error).__name__, detail=str(error)[:200])


def _applied(error: Exception) -> bool | None:
    """False when Redis refused the command or the connection; else the outcome is unknown."""
    refused = isinstance(error.__context__, ConnectionRefusedError)
    return False if refused or isinstance(error, ResponseError) else None


def make_redis(settings: Settings, *, timeout: float | None = None, size: int = 20) -> Redis:
    """A client that fails within `timeout` seconds and never retries: each caller has a fallback.

    redis-py retries ten times by default: a call to a dead server took four seconds.
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
        # Telling Redis the client's name and version takes two round trips for each connection,
        # and reads the version from a file of the package.
        driver_info=None,
    )
    return Redis.from_pool(pool)
