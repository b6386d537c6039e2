"""Deleting many rows: in batches that end in time, and with progress that is kept."""

import asyncio
import itertools
from dataclasses import replace

import psycopg
import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.features.tokens.models import Token
from app.infra.db import transaction
from app.infra.lifespan import Resources
from app.infra.purge import delete_in_batches
from tests.live import Live, query

OLD = Token.name == "old"

SLOW = """
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_sleep(0.1); RETURN OLD; END $$;
    CREATE TRIGGER slow BEFORE DELETE ON tokens FOR EACH ROW EXECUTE FUNCTION slow();
"""


async def store(resources: Resources, number: int, name: str = "old") -> None:
    async with transaction(resources.sessions) as session:
        session.add_all(Token(name=name, scopes=["x"], hash=bytes(32)) for _ in range(number))


async def left(resources: Resources) -> int:
    async with transaction(resources.sessions) as session:
        return await session.scalar(select(func.count()).select_from(Token)) or 0


class TestBatches:
    """Each batch is a transaction of its own."""

    @pytest.mark.parametrize(("number", "batch"), [(0, 3), (7, 3), (6, 3), (2, 3)])
    async def test_all_that_match_are_deleted_and_no_others(
        self, resources: Resources, number: int, batch: int
    ) -> None:
        await store(resources, number)
        await store(resources, 2, name="young")
        assert await delete_in_batches(resources.sessions, Token, OLD, batch=batch) == number
        assert await left(resources) == 2

    async def test_they_take_longer_than_one_statement_may(self, live: Live) -> None:
        """A request's statement may take 1.5 s. All of these take 2.5 s, a batch 0.2 s."""
        await store(live.resources, 25)
        query(live.resources.settings, SLOW)
        assert await delete_in_batches(live.resources.sessions, Token, OLD, batch=2) == 25

    async def test_an_interrupted_run_keeps_what_it_has_done(self, live: Live) -> None:
        await store(live.resources, 10)
        sessions, begun = live.resources.sessions, itertools.count(1)

        def interrupted() -> AsyncSession:
            if next(begun) == 3:
                raise asyncio.CancelledError
            return sessions.writers()

        stopping = replace(sessions, writers=interrupted)  # type: ignore[arg-type] # enough of one
        with pytest.raises(asyncio.CancelledError):
            await delete_in_batches(stopping, Token, OLD, batch=2)
        assert await left(live.resources) == 10 - 2 * 2

    async def test_a_row_that_is_locked_is_left_for_the_next_run(self, live: Live) -> None:
        await store(live.resources, 5)
        with psycopg.connect(live.resources.settings.database_dsn) as other:
            other.execute("SELECT FROM tokens LIMIT 1 FOR UPDATE")
            assert await delete_in_batches(live.resources.sessions, Token, OLD) == 4
        assert await delete_in_batches(live.resources.sessions, Token, OLD) == 1
