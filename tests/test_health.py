"""/health, /health/ready and /health/live: what each answers while a part fails, and its cost."""

import asyncio
import time
from typing import Any

import httpx
import psycopg
import pytest
from structlog.contextvars import bound_contextvars, get_contextvars

from app.config import Settings
from app.infra.lifespan import Resources
from app.infra.probes import Check, Probe, Status
from app.infra.queue import HEARTBEAT_KEY, write_heartbeat
from app.infra.schema import list_revisions
from dev.postgres import NAME, as_role
from tests.conftest import MakeClient, MakeToken
from tests.live import Live, redis_admin, run_service
from tests.logs import captured_logs, named
from tests.polling import PATIENCE, eventually
from tests.sockets import unused_port, with_postgres_at, with_redis_at

# Other tests' services are connected to other databases of the same server.
OWN_BACKENDS = """FROM pg_stat_activity
    WHERE application_name = 'drydock-health' AND datname = current_database()"""

UNKNOWN_TOKEN = "drydock_" + "0" * 32 + "_" + "0" * 64


async def ask(service: Live, path: str) -> tuple[int, dict[str, Any]]:
    answer = await service.client.get(path)
    return answer.status_code, answer.json()


async def is_ready(service: Live) -> bool:
    return (await ask(service, "/health/ready"))[0] == 200


def statuses(report: dict[str, Any]) -> dict[str, str]:
    return {name: check["status"] for name, check in report["checks"].items()}


def execute(settings: Settings, statement: str) -> psycopg.Cursor[tuple[Any, ...]]:
    with psycopg.connect(as_role(settings.database_dsn, NAME)) as connection:
        return connection.execute(statement.encode())


def set_revision(settings: Settings, revision: str) -> None:
    execute(settings, f"UPDATE alembic_version SET version_num = '{revision}'")


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
                status, report = await ask(service, path)
                assert (status, report["status"], report["version"]) == (200, "ok", "0a1b2c3")
                assert statuses(report) == dict.fromkeys(checks, "ok")
                assert all(check["latency_ms"] > 0 for check in report["checks"].values())
                assert (await service.client.head(path)).status_code == 200
            assert (await service.client.get("/health")).headers["cache-control"] == "no-store"


class TestDown:
    """The report names what is down and shows no address. tests/faults/ measures the time."""

    @pytest.mark.parametrize(("silent_for", "seen"), [(None, "never"), (40, "40 s ago")])
    async def test_without_a_worker_it_is_degraded(
        self, client: httpx.AsyncClient, resources: Resources, silent_for: int | None, seen: str
    ) -> None:
        if silent_for is not None:
            await resources.redis.set(HEARTBEAT_KEY, repr(time.time() - silent_for))
        answer = await client.get("/health")
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
        check = answer.json()["checks"]["worker"]
        assert (check["status"], check["error"]) == ("degraded", f"worker last seen: {seen}")

    async def test_without_redis_it_is_ready(self, own_settings: Settings) -> None:
        async with run_service(with_redis_at(own_settings, unused_port())) as service:
            status, ready = await ask(service, "/health/ready")
            whole = await service.client.get("/health")
        assert (status, ready["status"]) == (200, "degraded")
        assert statuses(ready)["redis"] == "unavailable"
        assert ready["checks"]["redis"]["error"] == "ConnectionError"
        assert (whole.status_code, whole.json()["status"]) == (503, "unavailable")
        assert whole.headers["retry-after"] == "1"
        assert whole.json()["checks"]["postgres"]["status"] == "ok"

    async def test_without_postgres_it_is_alive_and_not_ready(self, own_settings: Settings) -> None:
        async with run_service(with_postgres_at(own_settings, unused_port())) as service:
            ready = await service.client.get("/health/ready")
            status, live = await ask(service, "/health/live")
        assert ready.status_code == 503
        expected = {"postgres": "unavailable", "migrations": "unavailable", "redis": "ok"}
        assert statuses(ready.json()) == expected
        assert ready.json()["checks"]["postgres"]["error"] == "OperationalError"
        assert "127.0.0.1" not in ready.text
        assert "not-shown" not in ready.text
        assert (status, live["status"]) == (200, "ok")


class TestSchema:
    """Ready on the schema of this code or a newer one. 503 on an older one, with both revisions."""

    @pytest.mark.parametrize("found", ["9999", None])
    async def test_another_revision(self, own_settings: Settings, found: str | None) -> None:
        """A newer one answers 503 only if ACCEPT_NEWER_SCHEMA is false."""
        settings = own_settings.model_copy(update={"accept_newer_schema": False})
        if found:
            set_revision(own_settings, found)
        else:
            execute(own_settings, "DROP TABLE alembic_version")
        async with run_service(settings) as service:
            status, report = await ask(service, "/health/ready")
        check = report["checks"]["migrations"]
        assert (status, check["status"]) == (503, "unavailable")
        assert check.get("revision") == found
        expected = f"the schema is at {found or 'no revision'}, this code needs "
        assert check["error"].startswith(expected + list_revisions()[-1])

    @pytest.mark.parametrize(
        ("found", "expected"), [("newer", (200, "degraded")), ("older", (503, "unavailable"))]
    )
    async def test_only_a_newer_one_is_accepted(
        self,
        own_settings: Settings,
        monkeypatch: pytest.MonkeyPatch,
        found: str,
        expected: tuple[int, str],
    ) -> None:
        revisions = ["older", *list_revisions()]
        monkeypatch.setattr("app.health.list_revisions", lambda: revisions)
        set_revision(own_settings, found)
        async with run_service(own_settings) as service:
            status, report = await ask(service, "/health/ready")
        check = report["checks"]["migrations"]
        assert (status, check["status"]) == expected
        assert f"the schema is at {found}" in check["error"]

    async def test_a_migration_is_noticed_without_a_restart(self, own_settings: Settings) -> None:
        execute(own_settings, "DELETE FROM alembic_version")
        async with run_service(own_settings) as service:
            assert not await is_ready(service)
            newest = list_revisions()[-1]
            execute(own_settings, f"INSERT INTO alembic_version VALUES ('{newest}')")
            await eventually("ready", lambda: is_ready(service))


class TestDetails:
    """In production strangers learn which parts work, and a token shows latencies and reasons."""

    PATHS = ("/health", "/health/ready")

    @pytest.mark.parametrize("path", PATHS)
    @pytest.mark.parametrize("token", [None, UNKNOWN_TOKEN])
    async def test_a_stranger_sees_none(
        self, make_client: MakeClient, path: str, token: str | None
    ) -> None:
        async with make_client(environment="production") as client:
            if token is not None:
                client.headers["Authorization"] = f"Bearer {token}"
            answer = await client.get(path)
        report = answer.json()
        assert answer.status_code == 200
        assert set(report) == {"status", "version", "checks"}
        assert {"postgres", "migrations", "redis"} <= set(report["checks"])
        assert all(set(check) == {"status"} for check in report["checks"].values())

    @pytest.mark.parametrize("path", PATHS)
    async def test_a_token_without_scopes_that_matter_sees_them(
        self, make_client: MakeClient, make_token: MakeToken, path: str
    ) -> None:
        async with make_client(environment="production") as client:
            client.headers["Authorization"] = f"Bearer {await make_token('ships:sail')}"
            checks = (await client.get(path)).json()["checks"]
        assert checks["postgres"]["latency_ms"] > 0
        assert checks["migrations"]["revision"] == list_revisions()[-1]

    async def test_guessing_tokens_is_limited(self, make_client: MakeClient) -> None:
        async with make_client(environment="production", rate_limit_login="2/minute") as client:
            client.headers["Authorization"] = f"Bearer {UNKNOWN_TOKEN}"
            statuses = [(await client.get("/health")).status_code for _ in range(3)]
        assert statuses == [200, 200, 429]

    async def test_while_no_token_can_be_checked_the_log_has_the_reason_once(
        self, own_settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.infra.probes.FRESH", 0)
        settings = own_settings.model_copy(update={"environment": "production"})
        async with run_service(with_postgres_at(settings, unused_port())) as service:
            service.client.headers["Authorization"] = f"Bearer {UNKNOWN_TOKEN}"
            with captured_logs() as events:
                answer = await service.client.get("/health")
                await service.client.get("/health")
        assert answer.status_code == 503
        assert answer.json()["checks"]["postgres"] == {"status": "unavailable"}
        [event] = [one for one in named(events, "check_failed") if one["check"] == "postgres"]
        assert event["error"] == "OperationalError"
        assert event["detail"]


class TestCost:
    """All callers share one run of a check and one connection, which is outside the pool."""

    async def test_fifty_probes_are_one_check(
        self, live: Live, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.infra.probes.FRESH", 60)
        with redis_admin(live.resources.settings) as admin:
            admin.config_resetstat()
        for _ in range(2):
            answers = await asyncio.gather(*(ask(live, "/health") for _ in range(25)))
            assert {status for status, _ in answers} == {200}
        calls = await live.resources.redis.info("commandstats")
        assert calls["cmdstat_ping"]["calls"] == 1
        connections = execute(live.resources.settings, f"SELECT 1 {OWN_BACKENDS}")
        assert connections.rowcount == 1

    async def test_a_busy_pool_is_no_failure_of_postgres(self, own_settings: Settings) -> None:
        settings = own_settings.model_copy(update={"database_pool_size": 1})
        async with run_service(settings) as service, service.resources.engine.connect():
            assert await is_ready(service)

    async def test_a_locked_table_costs_no_more_than_the_limit(
        self, own_settings: Settings
    ) -> None:
        async with run_service(own_settings) as service:
            with psycopg.connect(own_settings.database_dsn) as other:
                other.execute("LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE")
                status, report = await ask(service, "/health/ready")
            assert (status, statuses(report)["migrations"]) == (503, "unavailable")
            await eventually("ready", lambda: is_ready(service))

    async def test_a_connection_that_the_server_closed_is_replaced(
        self, live: Live, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.infra.probes.FRESH", 0)
        assert await is_ready(live)
        kill = f"SELECT pg_terminate_backend(pid) {OWN_BACKENDS}"
        assert execute(live.resources.settings, kill).rowcount >= 1
        assert await is_ready(live)

    async def test_a_caller_that_leaves_does_not_cancel_the_check_of_others(self) -> None:
        released = asyncio.Event()

        async def run() -> Check:
            await released.wait()
            return Check(status=Status.OK)

        probe = Probe("ship", run)
        impatient, patient = asyncio.ensure_future(probe()), asyncio.ensure_future(probe())
        await asyncio.sleep(0)
        impatient.cancel()
        released.set()
        assert (await patient).status is Status.OK
        assert impatient.cancelled()

    async def test_it_has_the_request_id_of_no_caller(self) -> None:
        bound: list[dict[str, Any]] = []

        async def run() -> Check:
            bound.append(get_contextvars())
            return Check(status=Status.OK)

        with bound_contextvars(request_id="of one caller"):
            await Probe("ship", run)()
        assert bound == [{}]

    async def test_a_check_that_hangs_is_cancelled(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("app.infra.probes.LIMIT", 0.05)
        cancelled = asyncio.Event()

        async def hang() -> Check:
            try:
                return await asyncio.Future()
            finally:
                cancelled.set()
                # pytest fails this test if nobody retrieves the exception.
                raise ConnectionError

        check = await Probe("ship", hang)()
        assert (check.status, check.error) == (Status.UNAVAILABLE, "no answer within 0.05 s")
        await asyncio.wait_for(cancelled.wait(), PATIENCE)
