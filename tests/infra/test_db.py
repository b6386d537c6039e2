"""Postgres: commits and their hooks, answers while it is down, limits of the pool."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from typing import Any, cast

import psycopg
import pytest
from sqlalchemy import exc, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.config import Settings
from app.infra.db import (
    after_commit,
    check_capacity,
    is_unavailable,
    make_engine,
    reading,
    transaction,
)
from app.infra.lifespan import Resources
from tests.live import Live, query, run_service
from tests.logs import captured_logs, named
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
    yield engine
    await engine.dispose()


class TestCapacity:
    """A start adds up the connections of all processes, and fails if Postgres allows fewer."""

    @pytest.mark.parametrize(("size", "wanted"), [(5, 20), (31, 98), (32, 101)])
    async def test_what_is_compared(self, migrated: Settings, size: int, wanted: int) -> None:
        changed = {"database_pool_size": size, "web_concurrency": 2}
        settings = migrated.model_copy(update=changed)
        refused = pytest.raises(ValueError, match=r"DATABASE_POOL_SIZE x \(WEB_CONCURRENCY")
        async with engine_of(settings) as engine:
            with captured_logs() as events, refused if wanted > 100 else nullcontext():
                await check_capacity(engine, settings)
        (found,) = named(events, "database_capacity")
        assert (found["wanted"], found["max_connections"]) == (wanted, 100)

    async def test_without_postgres_the_service_starts(self, migrated: Settings) -> None:
        settings = with_postgres_at(migrated, unused_port())
        with captured_logs() as events:
            async with engine_of(settings) as engine:
                await check_capacity(engine, settings)
        assert named(events, "database_capacity_unknown")


class TestConnection:
    """A connection has a name, UTC and a statement_timeout. Connecting has a time limit."""

    async def test_its_session_is_set_up(self, migrated: Settings) -> None:
        async with engine_of(migrated, checkout_limit=7) as engine, engine.connect() as connection:
            for name, value in {
                "application_name": "tests",
                "TimeZone": "UTC",
                "statement_timeout": "7s",
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
