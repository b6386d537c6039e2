"""Rate limits: counted in Redis for all replicas, and in memory while Redis is down."""

import math
import time
from typing import Literal

from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.asyncio import Redis

from app.config import Settings
from app.errors import RateLimited
from app.infra.redis import CircuitBreaker, RedisUnavailable

Kind = Literal["read", "write", "login"]


class RateLimiter:
    """Counts the requests of each caller over a sliding window."""

    def __init__(self, settings: Settings, redis: Redis, breaker: CircuitBreaker) -> None:
        self._breaker = breaker
        self._limits: dict[Kind, RateLimitItem] = {
            "read": parse(settings.rate_limit_read),
            "write": parse(settings.rate_limit_write),
            "login": parse(settings.rate_limit_login),
        }
        storage = RedisStorage(
            "async+redis://unused:6379",  # the connection pool has the address
            implementation="redispy",
            connection_pool=redis.connection_pool,  # type: ignore[arg-type] # as its docs say
        )
        self._shared = SlidingWindowCounterRateLimiter(storage)
        self._local = SlidingWindowCounterRateLimiter(MemoryStorage())

    async def hit(self, kind: Kind, caller: str) -> None:
        """Count one use by `caller`. Raises `RateLimited` with the time until the next is free."""
        limit = self._limits[kind]
        try:
            allowed = await self._breaker.run(self._shared.hit(limit, kind, caller))
        except RedisUnavailable:
            allowed = await self._local.hit(limit, kind, caller)
        if not allowed:
            seconds = await self._seconds_left(limit, kind, caller)
            raise RateLimited(
                f"More than {limit.amount} in {limit.get_expiry()} s. Try again in {seconds} s.",
                headers={"Retry-After": str(seconds)},
            )

    async def _seconds_left(self, limit: RateLimitItem, *identifiers: str) -> int:
        try:
            stats = await self._breaker.run(self._shared.get_window_stats(limit, *identifiers))
        except RedisUnavailable:
            return int(limit.get_expiry())  # the whole window, which is never too short
        return max(1, math.ceil(stats.reset_time - time.time()))
