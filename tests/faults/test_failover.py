"""Postgres fails over to a standby while the service works."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import httpx
import pytest

from dev.postgres import SERVICE
from dev.servers import PostgresServer, scratch_folder, start_postgres, start_redis
from tests.faults.standby import Standby, ask, make_read_only
from tests.faults.test_postgres_away import API_LIMIT
from tests.pace import Stopwatch, within
from tests.polling import eventually
from tests.service import App, serve

CLIENTS = 5
PAUSE = 0.05  # seconds between two requests of a client


@dataclass(frozen=True)
class Cluster:
    primary: PostgresServer
    standby: Standby
    app: App


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """The web side, whose DATABASE_URL names both servers, the primary first."""
    with (
        scratch_folder() as scratch,
        start_redis(scratch / "redis") as redis,
        start_postgres(scratch / "primary") as primary,
        Standby.of(primary, scratch / "standby") as standby,
    ):
        ports = f":{primary.port}/", f":{primary.port},127.0.0.1:{standby.port}/"
        with serve(tmp_path, primary.url.replace(*ports), redis) as app:
            yield Cluster(primary, standby, app)


@dataclass
class Load:
    """Clients that create tokens without a pause, and what they were answered."""

    client: httpx.AsyncClient
    stopwatch: Stopwatch
    created: set[str] = field(default_factory=set)
    statuses: list[int] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=count)

    async def run(self) -> None:
        while True:
            name = f"token {next(self._numbers)}"
            body = {"name": name, "scopes": ["tokens:write"]}
            with self.stopwatch.measure("an answer"):
                answer = await self.client.post("/api/v1/tokens", json=body)
            self.statuses.append(answer.status_code)
            if answer.status_code == 201:
                self.created.add(name)
            await asyncio.sleep(PAUSE)

    async def until_it_works(self) -> None:
        """Return once a whole round of the clients was answered with 201."""
        start = len(self.statuses)

        async def works() -> bool:
            latest = self.statuses[start:][-2 * CLIENTS :]
            return len(latest) == 2 * CLIENTS and set(latest) == {201}

        await eventually("all requests succeed", works)


class TestFailover:
    """The service finds the new primary without a restart, and no acknowledged change is lost."""

    async def test_the_primary_freezes_and_comes_back_read_only(self, cluster: Cluster) -> None:
        primary, standby, app = cluster.primary, cluster.standby, cluster.app
        async with httpx.AsyncClient(
            base_url=app.url, headers=app.authorization, timeout=20
        ) as client:
            with within(API_LIMIT) as stopwatch:
                load = Load(client, stopwatch)
                clients = [asyncio.create_task(load.run()) for _ in range(CLIENTS)]
                await load.until_it_works()
                primary.freeze()
                await asyncio.to_thread(standby.promote)
                await load.until_it_works()
                primary.kill()
                await asyncio.to_thread(make_read_only, primary)
                await load.until_it_works()
                await fail_back(cluster)
                await load.until_it_works()
                for one in clients:
                    one.cancel()
                await asyncio.gather(*clients, return_exceptions=True)
        assert set(load.statuses) == {201, 503}
        stored = {name for (name,) in ask(standby, "SELECT name FROM tokens")}
        assert load.created <= stored


async def fail_back(cluster: Cluster) -> None:
    """Close all connections, so that the service opens new ones while both servers run."""
    closed = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{SERVICE}'"
    await asyncio.to_thread(ask, cluster.standby, closed)
