"""Postgres stopped, frozen, full or behind a dead network: a quick 503, and back by itself."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import (
    AbstractAsyncContextManager,
    ExitStack,
    asynccontextmanager,
    suppress,
)

import httpx
import psycopg
import pytest

from tests.faults.network import Proxy
from tests.faults.visitors import Visitors
from tests.programs import App, eventually
from tests.service import Service

API_LIMIT = 3.0  # seconds
HEALTH_LIMIT = 2.0  # seconds
REMEMBERED = 1.0  # seconds that a probe's last finding is told again
RECOVERY = 2.0  # seconds
POOL = 10  # connections
AT_ONCE = 3 * POOL  # requests
PROBES = 100

Away = Callable[[Service], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def stopped(service: Service) -> AsyncIterator[None]:
    await asyncio.to_thread(service.postgres.stop)
    yield
    await asyncio.to_thread(service.postgres.start)


@asynccontextmanager
async def frozen(service: Service) -> AsyncIterator[None]:
    service.postgres.freeze()
    yield
    service.postgres.thaw()


@asynccontextmanager
async def full(service: Service) -> AsyncIterator[None]:
    """All connections that max_connections allows are somebody else's."""
    with ExitStack() as held:
        await asyncio.to_thread(take_all_connections, service.postgres.url, held)
        yield


def take_all_connections(url: str, held: ExitStack) -> None:
    admin = held.enter_context(psycopg.connect(url, autocommit=True))
    theirs = "FROM pg_stat_activity WHERE application_name LIKE 'drydock-%'"
    while admin.execute(f"SELECT count(*) {theirs}".encode()).fetchone() != (0,):
        admin.execute(f"SELECT pg_terminate_backend(pid) {theirs}".encode())
        with suppress(psycopg.OperationalError):
            while True:
                held.enter_context(psycopg.connect(url, autocommit=True))


async def assert_refuses(client: httpx.AsyncClient) -> None:
    """Many requests at once: each gets its 503 and when to come back, in time."""
    started = time.monotonic()
    answers = await asyncio.gather(*(client.get("/api/v1/tokens") for _ in range(AT_ONCE)))
    took = time.monotonic() - started
    assert {answer.status_code for answer in answers} == {503}
    assert {answer.json()["code"] for answer in answers} == {"dependency_unavailable"}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)
    assert took < API_LIMIT


async def assert_health_tells(client: httpx.AsyncClient, app: App) -> None:
    """However many ask at once. What the slowest that asks nobody takes is the machine's time."""

    async def noticed() -> bool:
        return (await client.get("/health/ready")).status_code == 503

    await eventually("not ready", noticed, seconds=REMEMBERED + HEALTH_LIMIT)
    expected = {"health/live": 200, "health/ready": 503, "health": 503}
    async with Visitors(app.port) as probes:
        paths = list(expected) * (PROBES // len(expected) + 1)
        answers = await asyncio.gather(*(probes.follow(path) for path in paths))
    slowest: dict[str, float] = {}
    for path, answer in zip(paths, answers, strict=True):
        assert answer.status == expected[path]
        slowest[path] = max(slowest.get(path, 0), answer.seconds)
    granted = slowest.pop("health/live")
    assert max(slowest.values()) < HEALTH_LIMIT + granted


async def assert_recovers(client: httpx.AsyncClient) -> None:
    async def ready() -> bool:
        return (await client.get("/health/ready")).status_code == 200

    async def all_served() -> bool:
        answers = await asyncio.gather(*(client.get("/api/v1/tokens") for _ in range(POOL)))
        return {answer.status_code for answer in answers} == {200}

    await eventually("ready again", ready, seconds=RECOVERY)
    await eventually("everybody is served again", all_served, seconds=RECOVERY)


class TestPostgresAway:
    """Without Postgres the API answers 503 within 3 s, readiness within 2, and both recover."""

    @pytest.mark.parametrize("away", [stopped, frozen, full])
    async def test_while_it_is_away_and_after(self, service: Service, away: Away) -> None:
        async with service.client() as client:
            async with away(service):
                # Twice: the first requests meet open connections, the later ones have none.
                await assert_refuses(client)
                await assert_health_tells(client, service.app)
                await assert_refuses(client)
            await assert_recovers(client)

    async def test_behind_a_network_that_went_silent(self, service: Service) -> None:
        async with Proxy(service.postgres.port) as network:
            url = service.postgres.url.replace(f":{service.postgres.port}", f":{network.port}")
            app = service.another_app(DATABASE_URL=url)
            await asyncio.to_thread(app.wait_until, "/health")
            async with service.client(app) as client:
                assert (await client.get("/api/v1/tokens")).status_code == 200
                network.silence()
                await assert_refuses(client)
                await assert_health_tells(client, app)
                network.heal()
                await assert_recovers(client)
