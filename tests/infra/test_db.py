"""Postgres: what is committed when, and what clients hear when it is away."""

import asyncio

import psycopg
import pytest
from sqlalchemy import exc, text

from app.config import Settings
from app.features.tokens.scopes import TOKENS_WRITE
from app.infra.db import after_commit, check_capacity, is_unavailable, make_engine, transaction
from app.infra.lifespan import Resources
from tests.live import Live, run_service
from tests.logs import captured_logs, named
from tests.sockets import unused_port, with_postgres_at

REFUSE_AT_COMMIT = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN RAISE EXCEPTION 'refused at the commit'; END $$;
    CREATE CONSTRAINT TRIGGER refuse_at_commit AFTER INSERT ON tokens
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse();
"""
TOKEN = {"name": "new", "scopes": [TOKENS_WRITE]}
INSERT = text("INSERT INTO tokens (name, scopes, hash) VALUES ('new', '{a}', sha256('a'))")
COUNT = text("SELECT count(*) FROM tokens WHERE name = 'new'")


async def count(resources: Resources) -> int:
    async with transaction(resources.sessions) as session:
        return int(await session.scalar(COUNT) or 0)


async def refuse_at_commit(service: Live) -> None:
    async with service.resources.engine.begin() as connection:
        await connection.exec_driver_sql(REFUSE_AT_COMMIT)


class TestTransaction:
    """What a block did is committed at its end, or undone; its hooks run once it is durable."""

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

    async def test_an_exception_undoes_everything_and_runs_no_hook(
        self, resources: Resources
    ) -> None:
        ran = asyncio.Event()
        with pytest.raises(LookupError):
            await insert(resources, then=ran, fault=LookupError())
        assert await count(resources) == 0
        assert not ran.is_set()

    async def test_a_commit_that_fails_runs_no_hook(self, live: Live) -> None:
        await refuse_at_commit(live)
        ran = asyncio.Event()
        with pytest.raises(exc.DBAPIError, match="refused at the commit"):
            await insert(live.resources, then=ran)
        assert not ran.is_set()


async def insert(
    resources: Resources, *, then: asyncio.Event, fault: Exception | None = None
) -> None:
    async def set_event() -> None:
        then.set()

    async with transaction(resources.sessions) as session:
        await session.execute(INSERT)
        after_commit(session, set_event)
        if fault is not None:
            raise fault


class TestCommitBeforeAnswer:
    """An answer that says done is durable: the commit precedes it."""

    async def test_a_commit_that_fails_is_an_error_and_no_201(self, live: Live) -> None:
        await live.sign_in()
        await refuse_at_commit(live)
        answer = await live.client.post("/api/v1/tokens", json=TOKEN)
        assert answer.status_code == 500
        assert answer.json()["code"] == "internal_error"
        assert "refused" not in answer.text
        assert await count(live.resources) == 0

    async def test_what_was_answered_is_there(self, live: Live) -> None:
        await live.sign_in()
        answer = await live.client.post("/api/v1/tokens", json=TOKEN)
        assert answer.status_code == 201
        # On a connection that knows nothing of the service's.
        async with await psycopg.AsyncConnection.connect(
            live.resources.settings.database_dsn
        ) as connection:
            found = await connection.execute("SELECT 1 FROM tokens WHERE name = 'new'")
            assert found.rowcount == 1


class TestUnavailable:
    """When Postgres is at fault the client hears 503 and when to come back."""

    async def test_a_dead_server_is_503_with_retry_after(self, own_settings: Settings) -> None:
        async with run_service(with_postgres_at(own_settings, unused_port())) as service:
            service.client.headers["Authorization"] = f"Bearer drydock_{'0' * 32}_{'0' * 64}"
            answer = await service.client.get("/api/v1/tokens")
        assert answer.status_code == 503
        assert answer.json()["code"] == "dependency_unavailable"
        assert answer.headers["retry-after"] == "1"
        assert "127.0.0.1" not in answer.text

    async def test_a_full_pool_is_503_too(self, own_settings: Settings) -> None:
        settings = own_settings.model_copy(
            update={"database_pool_size": 1, "database_pool_timeout": 0.1}
        )
        async with run_service(settings) as service:
            await service.sign_in()
            async with service.resources.engine.connect():
                answer = await service.client.get("/api/v1/tokens")
            assert answer.status_code == 503
            assert (await service.client.get("/api/v1/tokens")).status_code == 200

    def test_a_fault_of_the_request_is_none_of_postgres(self) -> None:
        broken = exc.IntegrityError("INSERT", {}, psycopg.errors.UniqueViolation())
        assert not is_unavailable(broken)
        assert not is_unavailable(ValueError())


class TestCapacity:
    """A start counts the connections of all processes, and refuses what can't fit."""

    async def test_what_fits_is_logged(self, migrated: Settings) -> None:
        settings = migrated.model_copy(update={"database_pool_size": 5, "web_concurrency": 2})
        with captured_logs() as events:
            await check(settings)
        (found,) = named(events, "database_capacity")
        assert (found["wanted"], found["max_connections"]) == (20, 100)

    async def test_what_does_not_fit_names_the_settings(self, migrated: Settings) -> None:
        settings = migrated.model_copy(update={"database_pool_size": 96})
        with pytest.raises(ValueError, match=r"DATABASE_POOL_SIZE x \(WEB_CONCURRENCY x REPLICAS"):
            await check(settings)

    async def test_a_database_that_is_away_is_no_reason_not_to_start(
        self, migrated: Settings
    ) -> None:
        settings = with_postgres_at(migrated, unused_port())
        with captured_logs() as events:
            await check(settings)
        assert named(events, "database_capacity_unknown")


async def check(settings: Settings) -> None:
    engine = make_engine(settings, name="tests")
    try:
        await check_capacity(engine, settings)
    finally:
        await engine.dispose()
