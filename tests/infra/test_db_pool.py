"""Postgres: what bounds every wait for a connection, and how long one is lent."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest
from sqlalchemy import exc, text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.config import Settings
from app.infra.db import is_unavailable, make_engine
from tests.logs import captured_logs, named
from tests.sockets import frozen_server, with_postgres_at


@asynccontextmanager
async def engine_of(
    settings: Settings, *, lend_limit: float | None = None
) -> AsyncIterator[AsyncEngine]:
    engine = make_engine(settings, name="tests", lend_limit=lend_limit)
    yield engine
    await engine.dispose()


class TestConnection:
    """A connection is recognisable, keeps UTC, and gives up a statement that takes too long."""

    async def test_its_session_is_set_up(self, migrated: Settings) -> None:
        async with engine_of(migrated, lend_limit=7) as engine, engine.connect() as connection:
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
        assert time.monotonic() - started < 5  # libpq would take forever


class TestPool:
    """A pool lends each connection for a limited time and never lends a dead one."""

    async def test_one_that_is_used_up_makes_others_wait_for_a_limited_time(
        self, migrated: Settings
    ) -> None:
        settings = migrated.model_copy(
            update={"database_pool_size": 1, "database_pool_timeout": 0.1}
        )
        async with engine_of(settings) as engine, engine.connect():
            started = time.monotonic()
            with pytest.raises(exc.TimeoutError) as caught:
                await engine.connect()
        assert is_unavailable(caught.value)
        assert time.monotonic() - started < 5  # SQLAlchemy's own limit is thirty seconds

    async def test_an_idle_connection_that_the_server_closed_is_replaced(
        self, migrated: Settings
    ) -> None:
        async with engine_of(migrated) as engine:
            async with engine.connect() as connection:
                first = await connection.scalar(text("SELECT pg_backend_pid()"))
            await terminate(migrated, first)
            async with engine.connect() as connection:
                assert await connection.scalar(text("SELECT pg_backend_pid()")) != first

    async def test_a_connection_that_was_closed_here_is_replaced(self, migrated: Settings) -> None:
        async with engine_of(migrated) as engine:
            async with engine.connect() as connection:
                raw = await connection.get_raw_connection()
                assert raw.driver_connection is not None
                driver = raw.driver_connection
            await driver.close()
            async with engine.connect() as connection:
                assert await connection.scalar(text("SELECT 1")) == 1

    async def test_a_connection_that_is_kept_too_long_is_taken_away(
        self, migrated: Settings
    ) -> None:
        async with engine_of(migrated, lend_limit=0.5) as engine:
            with captured_logs() as events:
                async with engine.connect() as connection:
                    await connection.scalar(text("SELECT 1"))
                    await asyncio.sleep(0.6)
                    with pytest.raises(exc.OperationalError) as caught:
                        await connection.scalar(text("SELECT 1"))
            assert is_unavailable(caught.value)
            assert len(named(events, "database_lend_limit")) == 1
            async with engine.connect() as connection:
                assert await connection.scalar(text("SELECT 1")) == 1

    async def test_one_that_is_closed_already_is_not_missed(self, migrated: Settings) -> None:
        async with engine_of(migrated, lend_limit=0.1) as engine:
            with captured_logs() as events:
                async with engine.connect() as connection:
                    raw = await connection.get_raw_connection()
                    assert raw.driver_connection is not None
                    await raw.driver_connection.close()
                    await asyncio.sleep(0.2)
                    await connection.invalidate()
            assert not events

    async def test_one_that_came_back_in_time_is_left_alone(self, migrated: Settings) -> None:
        async with engine_of(migrated, lend_limit=0.2) as engine:
            async with engine.connect() as connection:
                first = await connection.scalar(text("SELECT pg_backend_pid()"))
            await asyncio.sleep(0.3)
            async with engine.connect() as connection:
                assert await connection.scalar(text("SELECT pg_backend_pid()")) == first


async def terminate(settings: Settings, pid: int) -> None:
    async with await psycopg.AsyncConnection.connect(settings.database_dsn) as connection:
        await connection.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
