"""What a process tells Prometheus: its pool, circuit breaker, event loop and rate limits."""

import asyncio
import time
from contextlib import suppress

import pytest
from sqlalchemy import exc

from app.config import Settings
from app.errors import RateLimited
from app.infra.lifespan import Resources, open_resources
from app.infra.metrics import Metrics
from app.infra.redis import RedisUnavailable
from tests.polling import eventually

POOL = "db_client_connection"


def read(resources: Resources, name: str, **labels: str) -> float | None:
    return resources.metrics.registry.get_sample_value(name, labels)


class TestPool:
    """Prometheus sees who has a connection, who waits for one, and for how long."""

    async def test_it(self, migrated: Settings) -> None:
        changed = {"database_pool_size": 2, "database_pool_timeout": 0.2}
        settings = migrated.model_copy(update=changed)
        async with open_resources(settings, name="tests", metrics=Metrics(settings)) as resources:
            connect = resources.engine.connect
            async with connect():
                async with connect():
                    assert read(resources, f"{POOL}_count", **{f"{POOL}_state": "used"}) == 2
                    with pytest.raises(exc.TimeoutError):
                        await connect()
                    waiting = asyncio.create_task(connect().start())
                    await eventually("one waits", lambda: waits(resources))
                await (await waiting).close()
            assert read(resources, f"{POOL}_count", **{f"{POOL}_state": "used"}) == 0
            assert read(resources, f"{POOL}_count", **{f"{POOL}_state": "idle"}) == 2
            assert read(resources, f"{POOL}_max") == 2
            assert read(resources, f"{POOL}_pending_requests") == 0
            assert read(resources, f"{POOL}_timeouts_total") == 1
            assert read(resources, f"{POOL}_wait_time_seconds_count") == 2
            assert (read(resources, f"{POOL}_wait_time_seconds_sum") or 0) >= 0.2


async def waits(resources: Resources) -> bool:
    return read(resources, f"{POOL}_pending_requests") == 1


class TestBreaker:
    """Prometheus sees whether the process goes on without Redis."""

    async def test_it(self, resources: Resources) -> None:
        assert read(resources, "drydock_redis_available") == 1
        with pytest.raises(RedisUnavailable):
            await resources.breaker.run(fail())
        assert read(resources, "drydock_redis_available") == 0
        await resources.breaker.run(resources.redis.ping(), always=True)
        assert read(resources, "drydock_redis_available") == 1


async def fail() -> None:
    raise ConnectionError


class TestLoop:
    """Something that computes instead of awaiting shows up as a lag of the event loop."""

    async def test_it(self, resources: Resources) -> None:
        def on_time(limit: str) -> float:
            return read(resources, "drydock_event_loop_lag_seconds_bucket", le=limit) or 0

        def late() -> float:
            return on_time("+Inf") - on_time("0.5")

        before = late()
        await asyncio.sleep(0)
        time.sleep(1.2)  # noqa: ASYNC251 -- that is what it must see

        async def is_measured() -> bool:
            return late() > before

        await eventually("the lag was measured", is_measured)


class TestLimits:
    """Prometheus sees how many requests a rate limit has refused."""

    async def test_it(self, resources: Resources) -> None:
        for _ in range(1000):
            with suppress(RateLimited):
                resources.limiter.hit("login", "ada")
        refused = read(resources, "drydock_rate_limited_total", kind="login")
        assert refused is not None
        assert 0 < refused < 1000
