"""What health checks cost: they run once for all callers, apart from the pool, with a limit."""

import asyncio
import itertools

import psycopg
import pytest

from app.config import Settings
from app.infra.probes import LIMIT, Check, Probe, Status
from tests.live import Live, run_service
from tests.logs import captured_logs, named
from tests.polling import eventually

# Other tests' services are connected to other databases of the same server.
OWN_BACKENDS = "FROM pg_stat_activity WHERE application_name = %s AND datname = current_database()"


class TestChecks:
    """The checks of the service share one run and one connection, outside the pool."""

    async def test_fifty_probes_at_once_are_one_check(
        self, live: Live, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.infra.probes.FRESH", 60)
        await live.resources.redis.config_resetstat()
        answers = await asyncio.gather(*(live.client.get("/health") for _ in range(50)))
        assert {answer.status_code for answer in answers} == {200}
        calls = await live.resources.redis.info("commandstats")
        assert calls["cmdstat_ping"]["calls"] == 1
        async with await psycopg.AsyncConnection.connect(
            live.resources.settings.database_dsn
        ) as connection:
            query = f"SELECT count(*) {OWN_BACKENDS}"
            assert await (await connection.execute(query, ["drydock-health"])).fetchone() == (1,)

    async def test_a_busy_pool_is_no_failure_of_postgres(self, own_settings: Settings) -> None:
        settings = own_settings.model_copy(update={"database_pool_size": 1})
        async with run_service(settings) as service, service.resources.engine.connect():
            assert await is_ready(service)

    async def test_a_locked_table_costs_no_more_than_the_limit(
        self, own_settings: Settings
    ) -> None:
        async with run_service(own_settings) as service:
            async with await psycopg.AsyncConnection.connect(own_settings.database_dsn) as other:
                await other.execute("LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE")
                answer = await service.client.get("/health/ready")
                assert answer.status_code == 503
                assert answer.json()["checks"]["migrations"]["status"] == "unavailable"
            await eventually("ready", lambda: is_ready(service), seconds=20)

    async def test_a_connection_that_the_server_closed_is_replaced(
        self, live: Live, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.infra.probes.FRESH", 0)
        assert await is_ready(live)
        kill = f"SELECT pg_terminate_backend(pid) {OWN_BACKENDS}"
        async with await psycopg.AsyncConnection.connect(
            live.resources.settings.database_dsn, autocommit=True
        ) as connection:
            killed = await connection.execute(kill, ["drydock-health"])
            assert killed.rowcount >= 1
        assert await is_ready(live)


async def is_ready(service: Live) -> bool:
    return (await service.client.get("/health/ready")).status_code == 200


class TestProbe:
    """A probe runs its check at most once a second. A failure is a result, not an exception."""

    async def test_a_result_answers_for_a_second(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("app.infra.probes.FRESH", 0.2)
        probe, runs = counted()
        await probe()
        await probe()
        assert len(runs) == 1
        await asyncio.sleep(0.25)
        await probe()
        assert len(runs) == 2

    async def test_a_caller_that_leaves_does_not_cancel_the_check_of_others(self) -> None:
        released = asyncio.Event()
        probe, runs = counted(released)
        impatient, patient = asyncio.ensure_future(probe()), asyncio.ensure_future(probe())
        await asyncio.sleep(0)
        impatient.cancel()
        released.set()
        assert (await patient).status is Status.OK
        assert impatient.cancelled()
        assert len(runs) == 1

    @pytest.mark.parametrize("fault", [None, ConnectionError()])
    async def test_a_check_that_hangs_is_cancelled(
        self, monkeypatch: pytest.MonkeyPatch, fault: Exception | None
    ) -> None:
        monkeypatch.setattr("app.infra.probes.LIMIT", 0.05)
        cancelled = asyncio.Event()

        async def hang() -> Check:
            try:
                return await asyncio.Future()
            except asyncio.CancelledError:
                cancelled.set()
                # pytest fails this test if nobody retrieves the exception.
                raise fault or asyncio.CancelledError from None

        check = await Probe(hang)()
        assert (check.status, check.error) == (Status.UNAVAILABLE, "no answer within 0.05 s")
        await asyncio.wait_for(cancelled.wait(), LIMIT)

    async def test_only_the_log_gets_the_details_of_a_failure(self) -> None:
        async def fail() -> Check:
            raise ConnectionRefusedError("10.0.0.7:5432 refused")

        with captured_logs() as events:
            check = await Probe(fail)()
        assert (check.status, check.error) == (Status.UNAVAILABLE, "ConnectionRefusedError")
        assert named(events, "check_failed")[0]["detail"] == "10.0.0.7:5432 refused"

    async def test_it_runs_again_after_a_failure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("app.infra.probes.FRESH", 0)
        runs = itertools.count()

        async def run() -> Check:
            if next(runs) == 0:
                raise ConnectionError
            return Check(status=Status.OK)

        probe = Probe(run)
        assert (await probe()).status is Status.UNAVAILABLE
        assert (await probe()).status is Status.OK


def counted(released: asyncio.Event | None = None) -> tuple[Probe, list[None]]:
    """A probe, and a list with an item for each run of its check."""
    runs: list[None] = []

    async def run() -> Check:
        runs.append(None)
        if released is not None:
            await released.wait()
        return Check(status=Status.OK)

    return Probe(run), runs
