"""Postgres stopped, frozen, full or behind a silent network: quick 503s, then recovery."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress

import httpx
import psycopg
import pytest

from dev.servers import PostgresServer
from tests.faults.away import Away, Proxy, frozen, stopped
from tests.pace import within
from tests.polling import eventually
from tests.service import Service

API_LIMIT = 3.0  # seconds
HEALTH_LIMIT = 2.0  # seconds
POOL = 10  # connections
AT_ONCE = 3 * POOL  # requests
PROBES = 100


@asynccontextmanager
async def full(postgres: PostgresServer) -> AsyncIterator[None]:
    """Another client holds all connections that max_connections allows."""
    with ExitStack() as held:
        await asyncio.to_thread(take_all_connections, postgres.url, held)
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
    """Each of many requests at once gets 503 and Retry-After in time."""
    with within(API_LIMIT) as stopwatch, stopwatch.measure("all answers"):
        answers = await asyncio.gather(*(client.get("/api/v1/tokens") for _ in range(AT_ONCE)))
    assert {answer.status_code for answer in answers} == {503}
    assert {answer.json()["code"] for answer in answers} == {"dependency_unavailable"}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)


async def assert_health_answers(client: httpx.AsyncClient) -> None:
    """Many probes at once are answered in time."""

    async def noticed() -> bool:
        return (await client.get("/health/ready")).status_code == 503

    await eventually("not ready", noticed)
    expected = {"/health/live": 200, "/health/ready": 503, "/health": 503}
    with within(HEALTH_LIMIT) as stopwatch:

        async def probe(path: str) -> None:
            with stopwatch.measure(path):
                assert (await client.get(path)).status_code == expected[path]

        await asyncio.gather(*(probe(path) for path in expected for _ in range(PROBES // 3)))


async def assert_recovers(client: httpx.AsyncClient) -> None:
    async def ready() -> bool:
        return (await client.get("/health/ready")).status_code == 200

    async def all_answered() -> bool:
        answers = await asyncio.gather(*(client.get("/api/v1/tokens") for _ in range(POOL)))
        return {answer.status_code for answer in answers} == {200}

    await eventually("ready again", ready)
    await eventually("all requests succeed again", all_answered)


class TestPostgresAway:
    """Without Postgres the API answers 503 within 3 s, readiness within 2, and both recover."""

    @pytest.mark.parametrize("away", [stopped, frozen, full])
    async def test_while_it_is_away_and_after(self, service: Service, away: Away) -> None:
        async with service.client() as client:
            async with away(service.postgres):
                # The first requests meet open connections. The later ones have to connect.
                await assert_refuses(client)
                await assert_health_answers(client)
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
                await assert_health_answers(client)
                network.heal()
                await assert_recovers(client)
