"""/health, /health/ready and /health/live: what each answers while a part fails."""

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
from tests.polling import eventually
from tests.sockets import frozen_server, unused_port, with_postgres_at, with_redis_at


async def ask(service: Live, path: str) -> tuple[int, dict[str, Any]]:
    answer = await service.client.get(path)
    return answer.status_code, answer.json()


def statuses(report: dict[str, Any]) -> dict[str, str]:
    return {name: check["status"] for name, check in report["checks"].items()}


class TestAllWell:
    """While everything works, each path answers 200 with the version and its checks."""

    async def test_each_path(self, own_settings: Settings) -> None:
        settings = own_settings.model_copy(update={"git_sha": "0a1b2c3"})
        async with run_service(settings) as service:
            await write_heartbeat(service.resources.redis)
            for path, checks in {
                "/health": {"postgres", "migrations", "redis", "worker"},
                "/health/ready": {"postgres", "migrations", "redis"},
                "/health/live": set[str](),
            }.items():
                answer = await service.client.get(path)
                report = answer.json()
                assert answer.status_code == 200
                assert (report["status"], report["version"]) == ("ok", "0a1b2c3")
                assert statuses(report) == dict.fromkeys(checks, "ok")
                assert all(check["latency_ms"] > 0 for check in report["checks"].values())
            assert (await service.client.get("/health")).headers["cache-control"] == "no-store"


class TestWorker:
    """Without a worker /health is degraded and still answers 200."""

    @pytest.mark.parametrize(("silent_for", "seen"), [(None, "never"), (40, "40 s ago")])
    async def test_it(
        self,
        client: httpx.AsyncClient,
        resources: Resources,
        silent_for: int | None,
        seen: str,
    ) -> None:
        if silent_for is not None:
            await resources.redis.set(HEARTBEAT_KEY, repr(time.time() - silent_for))
        answer = await client.get("/health")
        assert answer.status_code == 200
        assert answer.json()["status"] == "degraded"
        check = answer.json()["checks"]["worker"]
        assert (check["status"], check["error"]) == ("degraded", f"worker last seen: {seen}")


class TestRedisDown:
    """Without Redis the service is ready and degraded, and /health answers 503."""

    async def test_it(self, own_settings: Settings) -> None:
        async with run_service(with_redis_at(own_settings, unused_port())) as service:
            status, ready = await ask(service, "/health/ready")
            whole = await service.client.get("/health")
        assert (status, ready["status"]) == (200, "degraded")
        assert statuses(ready)["redis"] == "unavailable"
        assert ready["checks"]["redis"]["error"] == "ConnectionError"
        assert (whole.status_code, whole.json()["status"]) == (503, "unavailable")
        assert whole.headers["retry-after"] == "1"
        assert whole.json()["checks"]["postgres"]["status"] == "ok"


class TestPostgresDown:
    """Without Postgres the service is alive and not ready, and no address is shown."""

    async def test_it(self, own_settings: Settings) -> None:
        async with run_service(with_postgres_at(own_settings, unused_port())) as service:
            ready = await service.client.get("/health/ready")
            live = await service.client.get("/health/live")
        assert ready.status_code == 503
        assert statuses(ready.json()) == {
            "postgres": "unavailable",
            "migrations": "unavailable",
            "redis": "ok",
        }
        assert ready.json()["checks"]["postgres"]["error"] == "OperationalError"
        assert "127.0.0.1" not in ready.text
        assert "not-shown" not in ready.text
        assert (live.status_code, live.json()["status"]) == (200, "ok")


class TestFrozen:
    """Servers that accept connections and never answer delay a probe by less than two seconds."""

    async def test_it(self, own_settings: Settings) -> None:
        with frozen_server() as port:
            settings = with_redis_at(with_postgres_at(own_settings, port), port)
            async with run_service(settings) as service:
                started = time.monotonic()
                status, report = await ask(service, "/health")
                elapsed = time.monotonic() - started
        assert status == 503
        assert set(statuses(report).values()) == {"unavailable"}
        assert elapsed < 2 * LIMIT  # twice, because other tests load the machine


class TestSchema:
    """Readiness answers 503 and names both revisions while the schema is another one."""

    @pytest.mark.parametrize("found", ["0000", "9999", None])
    async def test_another_revision(self, own_settings: Settings, found: str | None) -> None:
        if found:
            await set_revision(own_settings, found)
        else:
            await execute(own_settings, "DROP TABLE alembic_version")
        async with run_service(own_settings) as service:
            status, report = await ask(service, "/health/ready")
        check = report["checks"]["migrations"]
        assert (status, check["status"]) == (503, "unavailable")
        assert check.get("revision") == found
        expected = f"the schema is at {found or 'no revision'}, this code needs "
        assert check["error"].startswith(expected + list_revisions()[-1])

    @pytest.mark.parametrize(
        ("found", "status", "word"), [("newer", 200, "degraded"), ("older", 503, "unavailable")]
    )
    async def test_only_a_newer_one_can_be_accepted(
        self,
        own_settings: Settings,
        monkeypatch: pytest.MonkeyPatch,
        found: str,
        status: int,
        word: str,
    ) -> None:
        revisions = ["older", *list_revisions()]
        monkeypatch.setattr("app.health.list_revisions", lambda: revisions)
        await set_revision(own_settings, found)
        accepting = own_settings.model_copy(update={"accept_newer_schema": True})
        async with run_service(accepting) as service:
            answered, report = await ask(service, "/health/ready")
        assert (answered, report["checks"]["migrations"]["status"]) == (status, word)
        assert f"the schema is at {found}" in report["checks"]["migrations"]["error"]

    async def test_a_migration_is_noticed_without_a_restart(self, own_settings: Settings) -> None:
        await set_revision(own_settings, "0000")
        async with run_service(own_settings) as service:
            assert await answers(service, 503)
            await set_revision(own_settings, list_revisions()[-1])
            await eventually("ready", lambda: answers(service, 200), seconds=10)


async def execute(settings: Settings, statement: str) -> None:
    async with await psycopg.AsyncConnection.connect(settings.database_dsn) as connection:
        await connection.execute(statement.encode())


async def set_revision(settings: Settings, revision: str) -> None:
    await execute(settings, f"UPDATE alembic_version SET version_num = '{revision}'")


async def answers(service: Live, status: int) -> bool:
    return (await ask(service, "/health/ready"))[0] == status
