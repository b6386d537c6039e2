"""Postgres: commits and their hooks, answers while it is down, limits of the pool."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from typing import Any, cast
from urllib.parse import urlsplit

import psycopg
import pytest
from pydantic import PostgresDsn, Secret
from sqlalchemy import exc, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.config import Settings
from app.infra.capacity import check_capacity
from app.infra.db import (
    after_commit,
    is_unavailable,
    make_engine,
    reading,
    transaction,
)
from app.infra.lifespan import Resources
from app.infra.pool import FairPool
from tests.faults.away import Proxy
from tests.live import Live, as_owner, query, run_service
from tests.logs import captured_logs, named
from tests.polling import PATIENCE, eventually
from tests.problems import check_problem
from tests.sockets import frozen_server, unused_port, with_postgres_at
from tests.statements import counted_statements

REFUSE_AT_COMMIT = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN RAISE EXCEPTION 'refused at the commit'; END $$;
    CREATE CONSTRAINT TRIGGER refuse_at_commit AFTER INSERT ON tokens
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse();
"""
INSERT = text("INSERT INTO tokens (name, scopes, hash) VALUES ('new', '{a}', sha256('a'))")
COUNT = text("SELECT count(*) FROM tokens WHERE name = 'new'")
SLOW = """
    CREATE FUNCTION take_long() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$;
    CREATE TRIGGER take_long BEFORE UPDATE ON tokens FOR EACH ROW EXECUTE FUNCTION take_long();
"""
PID = text("SELECT pg_backend_pid()")
MANY_TIMES = 10  # a busy machine may exceed a limit by this factor; the defaults take longer


async def count(resources: Resources) -> int:
    async with transaction(resources.sessions) as session:
        return int(await session.scalar(COUNT) or 0)


class TestTransaction:
    """The end of the block commits, and runs the hooks. An exception rolls back, and runs none."""

    async def test_the_end_commits_and_then_runs_the_hooks_in_order(self, live: Live) -> None:
        seen: list[tuple[str, int]] = []

        async def look(name: str) -> None:
            seen.append((name, await count(live.resources)))

        async with transaction(live.resources.sessions) as session:
            await session.execute(INSERT)
            after_commit(session, lambda: look("first"))
            after_commit(session, lambda: look("second"))
            assert await count(live.resources) == 0
        assert seen == [("first", 1), ("second", 1)]

    @pytest.mark.parametrize("at_commit", [True, False])
    async def test_a_failure_rolls_back_and_runs_no_hook(
        self, live: Live, *, at_commit: bool
    ) -> None:
        hook = asyncio.Event()

        async def run() -> None:
            hook.set()

        async def fail() -> None:
            async with transaction(live.resources.sessions) as session:
                await session.execute(INSERT)
                after_commit(session, run)
                if not at_commit:
                    raise LookupError

        if at_commit:
            query(live.resources.settings, REFUSE_AT_COMMIT)
        with pytest.raises(exc.DBAPIError if at_commit else LookupError):
            await fail()
        assert await count(live.resources) == 0
        assert not hook.is_set()


class TestReading:
    """A session that reads needs one round trip for a query, and can't promise a commit."""

    async def test_a_query_is_sent_alone(self, live: Live) -> None:
        with counted_statements() as read:
            async with reading(live.resources.sessions) as session:
                await session.execute(COUNT)
        with counted_statements() as written:
            async with transaction(live.resources.sessions) as session:
                await session.execute(COUNT)
        assert (len(read), written[0], len(written)) == (1, "BEGIN", 2)

    async def test_a_get_reads_and_other_methods_write(self, live: Live) -> None:
        await live.sign_in()
        await live.client.get("/api/v1/tokens")  # now the token is known
        body = {"name": "x", "scopes": ["tokens:write"]}
        with counted_statements() as read:
            assert (await live.client.get("/api/v1/tokens")).status_code == 200
        with counted_statements() as written:
            assert (await live.client.post("/api/v1/tokens", json=body)).status_code == 201
        assert "BEGIN" not in read
        assert written[0] == "BEGIN"

    async def test_it_has_no_hooks(self, live: Live) -> None:
        async with reading(live.resources.sessions) as session:
            with pytest.raises(RuntimeError, match="no commit"):
                after_commit(session, lambda: asyncio.sleep(0))


@asynccontextmanager
async def engine_of(
    settings: Settings, *, checkout_limit: float | None = None
) -> AsyncIterator[AsyncEngine]:
    engine = make_engine(settings, name="tests", checkout_limit=checkout_limit)
    try:
        yield engine
    finally:
        await engine.dispose()


class TestCapacity:
    """A start adds up the connections of all processes, and fails if Postgres allows fewer."""

    @pytest.mark.parametrize(("size", "wanted"), [(5, 34), (17, 94), (18, 99)])
    async def test_what_is_compared(self, migrated: Settings, size: int, wanted: int) -> None:
        """Pools and health checks, twice for a deploy; the superuser's connections are not ours."""
        changed = {"database_pool_size": size, "web_concurrency": 2}
        settings = migrated.model_copy(update=changed)
        refused = pytest.raises(ValueError, match=f"^{wanted} connections may be needed")
        async with engine_of(settings) as engine:
            with captured_logs() as events, refused if wanted > 97 else nullcontext():
                await check_capacity(engine, settings)
        (found,) = named(events, "database_capacity")
        assert (found["wanted"], found["available"]) == (wanted, 97)

    async def test_without_postgres_the_service_starts(self, migrated: Settings) -> None:
        settings = with_postgres_at(migrated, unused_port())
        with captured_logs() as events:
            async with engine_of(settings) as engine:
                await check_capacity(engine, settings)
        assert named(events, "database_capacity_unknown")


class TestConnection:
    """A connection has a name, UTC and time limits. Connecting has a time limit."""

    async def test_its_session_is_set_up(self, migrated: Settings) -> None:
        async with engine_of(migrated, checkout_limit=10) as engine, engine.connect() as connection:
            for name, value in {
                "application_name": "tests",
                "TimeZone": "UTC",
                "lock_timeout": "5s",
                "statement_timeout": "8s",
                "idle_in_transaction_session_timeout": "20s",
                "tcp_keepalives_idle": "10",
                "tcp_user_timeout": "20000",
            }.items():
                assert await connection.scalar(text(f"SHOW {name}")) == value

    async def test_a_frozen_server_costs_the_connect_timeout(self, migrated: Settings) -> None:
        with frozen_server() as port:
            settings = with_postgres_at(migrated, port).model_copy(
                update={"database_connect_timeout": 0.2}
            )
            async with engine_of(settings) as engine:
                started = time.monotonic()
                with pytest.raises((exc.OperationalError, psycopg.OperationalError)) as caught:
                    await engine.connect()
        assert is_unavailable(caught.value)
        assert time.monotonic() - started < 0.2 * MANY_TIMES


Driver = psycopg.AsyncConnection[Any]


async def driver_of(connection: AsyncConnection) -> Driver:
    raw = await connection.get_raw_connection()
    return cast("Driver", raw.driver_connection)


async def close_on_the_server(driver: Driver, dsn: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn) as other:
        pid = driver.info.backend_pid
        await other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


async def close_here(driver: Driver, _dsn: str) -> None:
    await driver.close()


class TestPool:
    """The pool hands out no dead connection, and shuts down one that is kept too long."""

    @pytest.mark.parametrize("close", [close_on_the_server, close_here])
    async def test_an_idle_connection_that_was_closed_is_replaced(
        self, migrated: Settings, close: Callable[[Driver, str], Awaitable[None]]
    ) -> None:
        async with engine_of(migrated) as engine:
            async with engine.connect() as connection:
                first = await connection.scalar(PID)
                driver = await driver_of(connection)
            await close(driver, migrated.database_dsn)
            async with engine.connect() as connection:
                assert await connection.scalar(PID) != first

    async def test_one_that_is_kept_too_long_is_shut_down(self, migrated: Settings) -> None:
        async with engine_of(migrated, checkout_limit=0.3) as engine:
            with captured_logs() as events:
                async with engine.connect() as connection:
                    await connection.scalar(PID)
                    await asyncio.sleep(0.4)
                    with pytest.raises(exc.OperationalError) as caught:
                        await connection.scalar(PID)
            assert is_unavailable(caught.value)
            assert len(named(events, "database_checkout_limit")) == 1
            async with engine.connect() as connection:
                assert await connection.scalar(PID)

    async def test_one_that_is_shut_down_costs_the_others_nothing(self, migrated: Settings) -> None:
        async with engine_of(migrated, checkout_limit=0.3) as engine:
            async with engine.connect() as kept, engine.connect() as other:
                pid = await other.scalar(PID)
                await other.close()
                await asyncio.sleep(0.4)
                with pytest.raises(exc.OperationalError):
                    await kept.scalar(PID)
            async with engine.connect() as first, engine.connect() as second:
                assert pid in {await first.scalar(PID), await second.scalar(PID)}

    @pytest.mark.parametrize("closed", [True, False])
    async def test_one_that_came_back_or_was_closed_in_time_is_left_alone(
        self, migrated: Settings, *, closed: bool
    ) -> None:
        async with engine_of(migrated, checkout_limit=0.5) as engine:
            with captured_logs() as events:
                async with engine.connect() as connection:
                    first = await connection.scalar(PID)
                    if closed:
                        await (await driver_of(connection)).close()
                        await asyncio.sleep(0.6)
                        await connection.invalidate()
                await asyncio.sleep(0.6)
            assert events == []
            async with engine.connect() as connection:
                assert (await connection.scalar(PID) != first) is closed

    async def test_it_serves_in_the_order_of_arrival(self, migrated: Settings) -> None:
        """One that gives its connection back and asks again does not overtake one that waits."""
        settings = migrated.model_copy(update={"database_pool_size": 1, "database_pool_timeout": 9})
        served: list[str] = []

        async def borrow(engine: AsyncEngine, name: str, *, times: int) -> None:
            for _ in range(times):
                async with engine.connect():
                    served.append(name)

        async with engine_of(settings) as engine, asyncio.TaskGroup() as parallel:
            parallel.create_task(borrow(engine, "greedy", times=5))
            parallel.create_task(borrow(engine, "patient", times=1))
        assert served.index("patient") <= 2

    async def test_who_gives_up_waiting_keeps_no_turn(self, migrated: Settings) -> None:
        changed = {"database_pool_size": 1, "database_pool_timeout": 0.05}
        async with engine_of(migrated.model_copy(update=changed)) as engine:
            for _ in range(3):
                async with engine.connect() as kept:
                    with pytest.raises(exc.TimeoutError):
                        await engine.connect()
                    assert await kept.scalar(text("SELECT 1")) == 1

    async def test_a_failed_connect_keeps_no_turn(self, migrated: Settings) -> None:
        changed = {"database_pool_size": 1, "database_pool_timeout": 0.05}
        settings = with_postgres_at(migrated, unused_port()).model_copy(update=changed)
        async with engine_of(settings) as engine:
            for _ in range(3):
                with pytest.raises((exc.OperationalError, psycopg.OperationalError)):
                    await engine.connect()

    async def test_a_request_that_finds_it_full_is_answered_503(
        self, own_settings: Settings
    ) -> None:
        changed = {"database_pool_size": 1, "database_pool_timeout": 0.1}
        async with run_service(own_settings.model_copy(update=changed)) as service:
            await service.sign_in()
            async with service.resources.engine.connect():
                started = time.monotonic()
                answer = await service.client.get("/api/v1/tokens")
                assert time.monotonic() - started < 10  # SQLAlchemy's own limit is 30 s
            check_problem(answer, 503, "dependency_unavailable")
            assert (await service.client.get("/api/v1/tokens")).status_code == 200

    async def test_one_more_than_may_wait_is_refused_at_once(
        self, own_settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.infra.pool.MOST_WAITING", 1)
        changed = {"database_pool_size": 1, "database_pool_timeout": PATIENCE}
        async with run_service(own_settings.model_copy(update=changed)) as service:
            await service.sign_in()
            async with service.resources.engine.connect():
                waiting = asyncio.create_task(service.client.get("/api/v1/tokens"))
                await eventually("it waits", lambda: waits_for(service.resources.engine, 1))
                answer = await service.client.get("/api/v1/tokens")
                check_problem(answer, 503, "overloaded")
                assert answer.headers["retry-after"] == "1"
                assert not waiting.done()
            assert (await waiting).status_code == 200


async def waits_for(engine: AsyncEngine, number: int) -> bool:
    pool = cast("FairPool", engine.sync_engine.pool)
    return pool.waiting == number


async def pids(service: Live) -> set[int]:
    """The server processes of the pool, after each of its connections was opened."""
    async with AsyncExitStack() as stack:
        connect = service.resources.engine.connect
        lent = [
            await stack.enter_async_context(connect())
            for _ in range(service.resources.settings.database_pool_size)
        ]
        return {int(await one.scalar(PID) or 0) for one in lent}


@pytest.fixture
async def named_token(live: Live) -> str:
    """The path of a token, whose row a test may lock."""
    await live.sign_in()
    body = {"name": "locked", "scopes": ["tokens:write"]}
    made = await live.client.post("/api/v1/tokens", json=body)
    return f"/api/v1/tokens/{made.json()['id']}"


class TestServersLimits:
    """Postgres itself ends a query that waits or runs too long, and a transaction that idles."""

    async def test_a_locked_row_is_named_as_the_reason_and_costs_no_connection(
        self, live: Live, named_token: str
    ) -> None:
        before = await pids(live)
        dsn = as_owner(live.resources.settings).database_dsn
        async with await psycopg.AsyncConnection.connect(dsn) as other:
            await other.execute("SELECT FROM tokens WHERE name = 'locked' FOR UPDATE")
            with captured_logs() as events:
                answer = await live.client.delete(named_token)
            check_problem(answer, 503, "rows_locked")
            assert answer.headers["retry-after"] == "1"
            assert not named(events, "database_checkout_limit")
            await other.rollback()
        assert await pids(live) == before
        assert (await live.client.delete(named_token)).status_code == 204

    async def test_a_long_query_is_named_as_the_reason_and_costs_no_connection(
        self, live: Live, named_token: str
    ) -> None:
        before = await pids(live)
        query(live.resources.settings, SLOW)
        check_problem(await live.client.delete(named_token), 503, "query_timed_out")
        assert await pids(live) == before

    async def test_a_client_that_vanished_holds_no_row(self, migrated: Settings) -> None:
        """The server sees an open connection, on which nothing comes any more."""
        async with Proxy(port_of(migrated)) as network:
            settings = with_hosts(migrated, network.port)
            async with (
                engine_of(settings, checkout_limit=0.5) as engine,
                engine.connect() as connection,
            ):
                pid = await connection.scalar(PID)
                network.silence()

                async def ended() -> bool:
                    return (
                        query(migrated, f"SELECT 1 FROM pg_stat_activity WHERE pid = {pid}") == []
                    )

                await eventually("the transaction has ended", ended)
                await connection.invalidate()


class TestReadOnly:
    """While the server is read-only, changes answer 503, and then work without a restart."""

    async def test_reads_work_and_changes_are_refused(self, live: Live, named_token: str) -> None:
        name = live.resources.settings.database_dsn.rpartition("/")[2]
        query(
            live.resources.settings, f"ALTER DATABASE {name} SET default_transaction_read_only=on"
        )
        await live.resources.engine.dispose()
        assert (await live.client.get("/api/v1/tokens")).status_code == 200
        refused = await live.client.delete(named_token)
        check_problem(refused, 503, "dependency_unavailable")
        assert "read-only" in refused.json()["detail"]
        ready = await live.client.get("/health/ready")
        assert ready.status_code == 200
        assert ready.json()["checks"]["postgres"]["status"] == "degraded"
        writable = f"SET TRANSACTION READ WRITE; ALTER DATABASE {name} RESET ALL"
        query(live.resources.settings, writable)
        assert (await live.client.delete(named_token)).status_code == 204


class TestSeveralHosts:
    """Of several hosts in DATABASE_URL the one that accepts writes is used, and found in time."""

    async def test_one_is_away_and_one_is_frozen(self, migrated: Settings) -> None:
        with frozen_server() as frozen:
            settings = with_hosts(migrated, unused_port(), frozen, port_of(migrated))
            async with engine_of(settings) as engine, engine.connect() as connection:
                assert await connection.scalar(text("SHOW transaction_read_only")) == "off"

    async def test_all_are_away(self, migrated: Settings) -> None:
        settings = with_hosts(migrated, unused_port(), unused_port())
        async with engine_of(settings) as engine:
            with pytest.raises((exc.OperationalError, psycopg.OperationalError)) as caught:
                await engine.connect()
        assert is_unavailable(caught.value)


def port_of(settings: Settings) -> int:
    return int(urlsplit(settings.database_dsn).port or 0)


def with_hosts(settings: Settings, *ports: int) -> Settings:
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    url = settings.database_dsn.replace(f"127.0.0.1:{port_of(settings)}", hosts)
    return settings.model_copy(update={"database_url": Secret(PostgresDsn(url))})
