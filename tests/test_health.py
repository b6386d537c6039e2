"""/health, /health/ready and /health/live: what each says of which failure, and what it costs."""

import time
from typing import Any

import httpx
import psycopg
import pytest

from app.config import Settings
from app.infra.lifespan import Resources
from app.infra.probes import LIMIT
from app.infra.queue import HEARTBEAT_KEY, write_heartbeat
from app.infra.schema import list_revisions
from tests.live import Live, run_service
from tests.programs import eventually
from tests.sockets import frozen_server, unused_port, with_postgres_at, with_redis_at


async def ask(service: Live, path: str) -> tuple[int, dict[str, Any]]:
    answer = await service.client.get(path)
    return answer.status_code, answer.json()


def statuses(report: dict[str, Any]) -> dict[str, str]:
    return {name: check["status"] for name, check in report["checks"].items()}


class TestAllWell:
    """When everything works, /health says so of each part."""

    async def test_reports_every_check(
        self, client: httpx.AsyncClient, resources: Resources
    ) -> None:
        await write_heartbeat(resources.redis)
        answer = await client.get("/health")
        report = answer.json()
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        assert (report["status"], report["version"]) == ("ok", "development")
        assert statuses(report) == {
            "postgres": "ok",
            "migrations": "ok",
            "redis": "ok",
            "worker": "ok",
        }
        assert all(check["latency_ms"] > 0 for check in report["checks"].values())

    async def test_ready_does_not_ask_for_a_worker(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/health/ready")
        assert answer.status_code == 200
        assert statuses(answer.json()) == {"postgres": "ok", "migrations": "ok", "redis": "ok"}

    async def test_the_version_is_the_commit(self, own_settings: Settings) -> None:
        settings = own_settings.model_copy(update={"git_sha": "0a1b2c3"})
        async with run_service(settings) as service:
            for path in ("/health", "/health/ready", "/health/live"):
                assert (await ask(service, path))[1]["version"] == "0a1b2c3"


class TestWorker:
    """A worker that is silent degrades /health and makes nothing unavailable."""

    async def test_one_that_never_spoke(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/health")
        assert answer.status_code == 200
        assert answer.json()["status"] == "degraded"
        assert answer.json()["checks"]["worker"]["error"] == "worker last seen: never"

    async def test_one_that_fell_silent(
        self, client: httpx.AsyncClient, resources: Resources
    ) -> None:
        await resources.redis.set(HEARTBEAT_KEY, repr(time.time() - 40))
        check = (await client.get("/health")).json()["checks"]["worker"]
        assert check["status"] == "degraded"
        assert check["error"] == "worker last seen: 40 s ago"


class TestRedisDown:
    """Without Redis the service is ready, degraded, and /health fails."""

    async def test_ready_stays_200(self, own_settings: Settings) -> None:
        async with run_service(with_redis_at(own_settings, unused_port())) as service:
            status, report = await ask(service, "/health/ready")
        assert status == 200
        assert report["status"] == "degraded"
        assert statuses(report)["redis"] == "unavailable"
        assert report["checks"]["redis"]["error"] == "ConnectionError"

    async def test_the_whole_report_is_503(self, own_settings: Settings) -> None:
        async with run_service(with_redis_at(own_settings, unused_port())) as service:
            answer = await service.client.get("/health")
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["status"] == "unavailable"
        assert answer.json()["checks"]["postgres"]["status"] == "ok"


class TestPostgresDown:
    """Without Postgres no traffic is wanted, and the process is alive."""

    async def test_ready_is_503(self, own_settings: Settings) -> None:
        async with run_service(with_postgres_at(own_settings, unused_port())) as service:
            status, report = await ask(service, "/health/ready")
        assert status == 503
        assert statuses(report) == {
            "postgres": "unavailable",
            "migrations": "unavailable",
            "redis": "ok",
        }

    async def test_live_is_200(self, own_settings: Settings) -> None:
        async with run_service(with_postgres_at(own_settings, unused_port())) as service:
            status, report = await ask(service, "/health/live")
        assert (status, report["status"]) == (200, "ok")

    async def test_the_report_tells_strangers_no_address(self, own_settings: Settings) -> None:
        async with run_service(with_postgres_at(own_settings, unused_port())) as service:
            answer = await service.client.get("/health")
        assert answer.json()["checks"]["postgres"]["error"] == "OperationalError"
        assert "127.0.0.1" not in answer.text
        assert "not-shown" not in answer.text


class TestFrozen:
    """A dependency that accepts and never answers costs a probe less than two seconds."""

    async def test_health_gives_both_up(self, own_settings: Settings) -> None:
        with frozen_server() as port:
            settings = with_redis_at(with_postgres_at(own_settings, port), port)
            async with run_service(settings) as service:
                started = time.monotonic()
                status, report = await ask(service, "/health")
                elapsed = time.monotonic() - started
        assert status == 503
        assert set(statuses(report).values()) == {"unavailable"}
        assert elapsed < 2 * LIMIT  # the fault tests hold the promise on a quiet machine


class TestSchema:
    """A schema that is behind or ahead keeps the service from traffic, and says so."""

    @pytest.mark.parametrize("found", ["0000", "9999"])
    async def test_another_revision_is_503(self, own_settings: Settings, found: str) -> None:
        await set_revision(own_settings, found)
        async with run_service(own_settings) as service:
            status, report = await ask(service, "/health/ready")
        check = report["checks"]["migrations"]
        assert status == 503
        assert (check["status"], check["revision"]) == ("unavailable", found)
        assert f"the schema is at {found}, this code needs " in check["error"]

    async def test_a_newer_one_can_be_accepted(self, own_settings: Settings) -> None:
        await set_revision(own_settings, "9999")
        accepting = own_settings.model_copy(update={"accept_newer_schema": True})
        async with run_service(accepting) as service:
            status, report = await ask(service, "/health/ready")
        check = report["checks"]["migrations"]
        assert status == 200
        assert (report["status"], check["status"]) == ("degraded", "degraded")
        assert "the schema is at 9999, this code needs " in check["error"]

    async def test_one_that_is_known_and_not_the_newest_never_is(
        self, own_settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await set_revision(own_settings, "older")
        monkeypatch.setattr("app.health.list_revisions", lambda: ["older", *list_revisions()])
        accepting = own_settings.model_copy(update={"accept_newer_schema": True})
        async with run_service(accepting) as service:
            status, report = await ask(service, "/health/ready")
        assert (status, report["checks"]["migrations"]["status"]) == (503, "unavailable")

    async def test_no_schema_at_all_is_503(self, own_settings: Settings) -> None:
        await execute(own_settings, "DROP TABLE alembic_version")
        async with run_service(own_settings) as service:
            status, report = await ask(service, "/health/ready")
        assert status == 503
        assert "the schema is at no revision" in report["checks"]["migrations"]["error"]

    async def test_a_migration_is_noticed_without_a_restart(self, own_settings: Settings) -> None:
        async with run_service(own_settings) as service:
            _, before = await ask(service, "/health/ready")
            await set_revision(own_settings, "0000")
            await eventually("unready", lambda: answers(service, 503), seconds=10)
            await set_revision(own_settings, before["checks"]["migrations"]["revision"])
            await eventually("ready", lambda: answers(service, 200), seconds=10)


async def execute(settings: Settings, statement: str) -> None:
    async with await psycopg.AsyncConnection.connect(settings.database_dsn) as connection:
        await connection.execute(statement.encode())


async def set_revision(settings: Settings, revision: str) -> None:
    await execute(settings, f"UPDATE alembic_version SET version_num = '{revision}'")


async def answers(service: Live, status: int) -> bool:
    return (await ask(service, "/health/ready"))[0] == status
