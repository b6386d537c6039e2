"""What health checks cost: single-flight, connections of their own, and a limit to each."""

import asyncio
import itertools

import psycopg
import pytest

from app.config import Settings
from app.infra.probes import LIMIT, Check, Probe, Status
from tests.live import Live, run_service
from tests.logs import captured_logs, named
from tests.programs import eventually

# The server is shared: services of other tests are connected to databases of their own.
OWN_BACKENDS = "FROM pg_stat_activity WHERE application_name = %s AND datname = current_database()"


class TestCost:
    """Each check runs once for all probes of a second, on a connection of its own."""

    async def test_fifty_probes_at_once_are_one_check(
        self, live: Live, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.infra.probes.FRESH", 60)
        await live.resources.redis.config_resetstat()
        answers = await asyncio.gather(*(live.client.get("/health") for _ in range(50)))
        assert {answer.status_code for answer in answers} == {200}
        calls = await live.resources.redis.info("commandstats")
        assert calls["cmdstat_ping"]["calls"] == 1
        assert await connections(live, "drydock-health") == 1

    async def test_the_result_serves_for_a_second(self) -> None:
        probe, runs = counted()
        await probe()
        await probe()
        assert len(runs) == 1
        await asyncio.sleep(1.05)
        await probe()
        assert len(runs) == 2

    async def test_a_probe_that_leaves_does_not_stop_the_check_of_the_others(self) -> None:
        released = asyncio.Event()
        probe, runs = counted(released)
        impatient, patient = asyncio.ensure_future(probe()), asyncio.ensure_future(probe())
        await asyncio.sleep(0)
        impatient.cancel()
        released.set()
        assert (await patient).status is Status.OK
        assert impatient.cancelled()
        assert len(runs) == 1

    async def test_a_busy_pool_is_no_sick_database(self, own_settings: Settings) -> None:
        settings = own_settings.model_copy(update={"database_pool_size": 1})
        async with run_service(settings) as service, service.resources.engine.connect():
            answer = await service.client.get("/health/ready")
        assert answer.status_code == 200

    async def test_a_table_that_is_locked_is_waited_for_no_longer_than_anything_else(
        self, own_settings: Settings
    ) -> None:
        async with run_service(own_settings) as service:
            async with await psycopg.AsyncConnection.connect(own_settings.database_dsn) as other:
                await other.execute("LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE")
                answer = await service.client.get("/health/ready")
                assert answer.status_code == 503
                assert answer.json()["checks"]["migrations"]["status"] == "unavailable"
            await eventually("ready", lambda: is_ready(service), seconds=20)

    async def test_a_connection_that_the_server_closed_is_replaced(self, live: Live) -> None:
        assert (await live.client.get("/health/ready")).status_code == 200
        kill = f"SELECT pg_terminate_backend(pid) {OWN_BACKENDS}"
        async with await psycopg.AsyncConnection.connect(
            live.resources.settings.database_dsn, autocommit=True
        ) as connection:
            killed = await connection.execute(kill, ["drydock-health"])
            assert killed.rowcount >= 1
        await asyncio.sleep(1.05)  # the last result serves that long
        assert (await live.client.get("/health/ready")).status_code == 200


async def is_ready(service: Live) -> bool:
    return (await service.client.get("/health/ready")).status_code == 200


class TestProbe:
    """A check that fails or hangs is a finding, never an exception."""

    async def test_one_that_hangs_is_given_up_and_cancelled(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.infra.probes.LIMIT", 0.05)
        cancelled = asyncio.Event()

        async def hang() -> Check:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
            raise AssertionError

        check = await Probe(hang)()
        assert (check.status, check.error) == (Status.UNAVAILABLE, "no answer within 0.05 s")
        await asyncio.wait_for(cancelled.wait(), LIMIT)

    async def test_one_that_fails_after_it_was_given_up_disturbs_nobody(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.infra.probes.LIMIT", 0.05)
        failed = asyncio.Event()

        async def hang() -> Check:
            try:
                return await asyncio.Future()
            except asyncio.CancelledError:
                failed.set()
                raise ConnectionError from None

        assert (await Probe(hang)()).status is Status.UNAVAILABLE
        await asyncio.wait_for(failed.wait(), LIMIT)
        # pytest turns an exception that nobody retrieved into a failure of this test.

    async def test_one_that_fails_tells_the_log_more_than_the_stranger(self) -> None:
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
    runs: list[None] = []

    async def run() -> Check:
        runs.append(None)
        if released is not None:
            await released.wait()
        return Check(status=Status.OK)

    return Probe(run), runs


async def connections(service: Live, name: str) -> int:
    query = f"SELECT count(*) {OWN_BACKENDS}"
    async with await psycopg.AsyncConnection.connect(
        service.resources.settings.database_dsn
    ) as connection:
        row = await (await connection.execute(query, [name])).fetchone()
    assert row is not None
    return int(row[0])
