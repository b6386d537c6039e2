"""Redis stopped, frozen or slow: the service works without it, then recovers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from redis import Redis

from dev.files import write_private
from dev.redis import as_admin
from dev.servers import RedisServer, scratch_folder, start_redis
from tests.faults.away import Away, Proxy, demoted, frozen, loading, out_of_memory, stopped
from tests.faults.latency import Request, watch
from tests.pace import within
from tests.polling import eventually
from tests.service import Service

PROMISED = 0.3  # seconds that a request may take longer without Redis
HEALTH_LIMIT = 2.0  # seconds
STUTTER = 0.3, 0.02  # seconds frozen, then seconds working


async def list_tokens(client: httpx.AsyncClient) -> httpx.Response:
    return await client.get("/api/v1/tokens", params={"limit": 5})


async def create_token(client: httpx.AsyncClient) -> httpx.Response:
    return await client.post("/api/v1/tokens", json={"name": "t", "scopes": ["tokens:write"]})


KINDS: dict[str, Request] = {"list": list_tokens, "create": create_token}


@asynccontextmanager
async def stuttering(redis: RedisServer) -> AsyncIterator[None]:
    """Slow: most commands take longer than the timeout, some do not."""

    async def stutter() -> None:
        pause, works = STUTTER
        while True:
            async with frozen(redis):
                await asyncio.sleep(pause)
            await asyncio.sleep(works)

    task = asyncio.create_task(stutter())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    redis.thaw()


async def assert_health_answers(client: httpx.AsyncClient) -> None:
    """/health fails, readiness is degraded only, and both answer in time."""
    with within(HEALTH_LIMIT) as stopwatch, stopwatch.measure("all answers"):
        report, ready, live = await asyncio.gather(
            client.get("/health"), client.get("/health/ready"), client.get("/health/live")
        )
    assert (report.status_code, report.json()["status"]) == (503, "unavailable")
    assert report.json()["checks"]["redis"]["status"] == "unavailable"
    assert report.json()["checks"]["postgres"]["status"] == "ok"
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert live.status_code == 200


async def assert_recovers(client: httpx.AsyncClient) -> None:
    async def healthy() -> bool:
        return (await client.get("/health")).status_code == 200

    await eventually("/health is 200 again", healthy)


class TestRedisAway:
    """Without Redis the API keeps working, and no request takes more than 0.3 s longer."""

    @pytest.mark.parametrize("away", [stopped, frozen, stuttering, loading, demoted, out_of_memory])
    async def test_while_it_is_away_and_after(self, service: Service, away: Away) -> None:
        async with service.client() as client:
            usual = await watch(service, client, KINDS, seconds=1)
            async with away(service.redis):
                seen = await watch(service, client, KINDS, seconds=2.5)
                if away in {stopped, frozen, loading}:
                    await assert_health_answers(client)
            await assert_recovers(client)
        seen.assert_answered(list=200, create=201)
        seen.assert_no_slower_than(usual, by=PROMISED)


class TestRedisRefuses:
    """With a wrong password for Redis the service works, and counts limits in memory."""

    async def test_from_the_start(self, service: Service) -> None:
        app = service.another_app(REDIS_PASSWORD="wrong", RATE_LIMIT_WRITE="5/minute")
        await asyncio.to_thread(app.wait_until, "/health/ready")
        async with service.client(app) as client:
            await assert_health_answers(client)
            statuses = [(await create_token(client)).status_code for _ in range(5)]
            refused = await create_token(client)
        assert statuses == [201] * 5
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert 1 <= int(refused.headers["retry-after"]) <= 2 * 60


class TestFailover:
    """After a failover of Redis, the service uses the new primary without a restart."""

    async def test_connections_to_the_old_primary_are_dropped(self, service: Service) -> None:
        with scratch_folder() as scratch:
            # One password, as in a cluster.
            folder = scratch / "redis"
            folder.mkdir()
            write_private(folder / "password", service.redis._password)
            with start_redis(folder) as other:
                await assert_follows(service, other)


async def assert_follows(service: Service, other: RedisServer) -> None:
    """An app that uses `other` uses the service's Redis after a failover."""
    async with Proxy(other.port) as network:
        url = other.url.replace(f":{other.port}", f":{network.port}")
        app = service.another_app(REDIS_URL=url)
        await asyncio.to_thread(app.wait_until, "/health/ready")
        async with service.client(app) as client, demoted(other):
            network.target = service.redis.port  # the old primary keeps the open connections
            with Redis.from_url(as_admin(service.redis.url)) as redis:
                for key in redis.keys("limit:*"):
                    redis.delete(key)

                async def counted() -> bool:
                    await list_tokens(client)
                    return bool(redis.keys("limit:*"))

                await eventually("limits are counted in the new primary", counted)
