"""Links while Redis or Postgres is down. The fault tests measure how long a request takes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from sqlalchemy import text

from app.config import Settings
from app.features.links import clicks
from app.features.links.cache import KEY
from app.infra.db import transaction
from app.infra.lifespan import Resources
from tests.features.links.conftest import IMPORTS, LINKS
from tests.features.links.counting import counts, unconfirmed
from tests.features.links.uploading import csv_of, result, upload, work
from tests.live import Live, query, redis_admin, run_service
from tests.logs import captured_logs, named
from tests.problems import check_problem
from tests.sockets import frozen_server, unused_port, with_postgres_at, with_redis_at

DECK = {"url": "https://example.com/", "slug": "deck"}


@pytest.fixture
async def without_redis(own_settings: Settings) -> AsyncIterator[Live]:
    async with run_service(with_redis_at(own_settings, unused_port())) as service:
        await service.sign_in()
        yield service


@asynccontextmanager
async def with_frozen_redis(own_settings: Settings) -> AsyncIterator[Live]:
    """A service that has one link, and whose Redis accepts and stays silent."""
    with frozen_server() as port:
        settings = with_redis_at(own_settings, port).model_copy(update={"redis_timeout": 0.1})
        async with run_service(settings) as service:
            async with transaction(service.resources.sessions) as session:
                insert = text("INSERT INTO links (slug, url) VALUES (:slug, :url)")
                await session.execute(insert, DECK)
            yield service


class TestRedisDown:
    """Without Redis everything works from Postgres, and every click is counted there."""

    async def test_redirects_are_answered_and_counted(self, without_redis: Live) -> None:
        client = without_redis.client
        assert (await client.post(LINKS, json=DECK)).status_code == 201
        for _ in range(3):
            assert (await client.get("/deck")).headers["location"] == DECK["url"]
        assert (await client.head("/deck")).status_code == 302
        assert sum((await counts(without_redis.resources)).values()) == 3
        assert (await client.get(f"{LINKS}/deck")).json()["clicks"] == 3

    async def test_changes_are_seen_at_once(self, without_redis: Live) -> None:
        client = without_redis.client
        check_problem(await client.get("/deck"), 404, "link_not_found")
        await client.post(LINKS, json=DECK)
        await client.patch(f"{LINKS}/deck", json={"url": "https://example.com/new"})
        assert (await client.get("/deck")).headers["location"] == "https://example.com/new"
        async with transaction(without_redis.resources.sessions) as session:
            await session.execute(text("UPDATE links SET expires_at = now()"))
        check_problem(await client.get("/deck"), 410, "link_expired")
        await client.delete(f"{LINKS}/deck")
        check_problem(await client.get("/deck"), 404, "link_not_found")

    async def test_an_import_is_taken_in_and_can_be_done(self, without_redis: Live) -> None:
        client, resources = without_redis.client, without_redis.resources
        job = await upload(client, "https://example.com/,one,,")
        with captured_logs() as events:
            await work(resources, job)
        assert (await result(client, job))["done"] == 1
        assert named(events, "cache_not_invalidated")
        assert (await client.get("/one")).status_code == 302


class TestRedisSilent:
    """If an append was not confirmed, its clicks are saved and reconciled later."""

    async def test_the_stream_is_asked_before_it_counts(
        self, own_settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.infra.redis.RETRY_EVERY", 60)
        async with with_frozen_redis(own_settings) as service:
            for _ in range(3):
                assert (await service.client.get("/deck")).status_code == 302
            # The first waited for an answer in vain; the breaker was open for the others.
            assert await unconfirmed(service.resources) == 1
            assert sum((await counts(service.resources)).values()) == 2
        async with run_service(own_settings) as service:
            await age_noted_clicks(service.resources)
            async with transaction(service.resources.sessions) as session:
                await clicks.roll_up(session, service.resources.redis)
            assert await unconfirmed(service.resources) == 0
            assert sum((await counts(service.resources)).values()) == 3


async def age_noted_clicks(resources: Resources) -> None:
    async with transaction(resources.sessions) as session:
        await session.execute(
            text("UPDATE unsettled_clicks SET created_at = now() - 2 * CAST(:age AS interval)"),
            {"age": clicks.RECONCILE_AFTER},
        )


class TestRedisFull:
    """Redirects also work, and count in Postgres, while Redis refuses writes."""

    async def test_redirects_are_answered_and_counted(
        self, live: Live, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.infra.redis.RETRY_EVERY", 0)  # each of them asks Redis
        await live.sign_in()
        for slug in ("cached", "other"):
            answer = await live.client.post(LINKS, json={**DECK, "slug": slug})
            assert answer.status_code == 201
        await live.resources.redis.delete(f"{KEY}other")
        with redis_admin(live.resources.settings) as admin:
            admin.config_set("maxmemory", 1)
            try:
                for slug in ("cached", "other"):
                    answer = await live.client.get(f"/{slug}")
                    assert answer.headers["location"] == DECK["url"]
            finally:
                admin.config_set("maxmemory", 0)
        assert sum((await counts(live.resources)).values()) == 2
        assert await unconfirmed(live.resources) == 0


class TestPostgresDown:
    """Without Postgres cached redirects work and are counted, and the rest answers 503."""

    async def test_what_is_cached_is_served(self, own_settings: Settings) -> None:
        async with run_service(own_settings) as service:
            await service.sign_in()
            await service.client.post(LINKS, json=DECK)
            assert (await service.client.get("/deck")).status_code == 302
        async with run_service(with_postgres_at(own_settings, unused_port())) as service:
            answer = await service.client.get("/deck")
            assert (answer.status_code, answer.headers["location"]) == (302, DECK["url"])
            check_problem(await service.client.get("/other"), 503, "dependency_unavailable")
        async with run_service(own_settings) as service:
            async with transaction(service.resources.sessions) as session:
                await clicks.roll_up(session, service.resources.redis)
            assert sum((await counts(service.resources)).values()) == 2


class TestCommitFails:
    """A change that was not committed is seen nowhere: not in the cache, not in the queue."""

    REFUSE = """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
            AS $$ BEGIN RAISE EXCEPTION 'refused at the commit'; END $$;
        CREATE CONSTRAINT TRIGGER refuse_links AFTER INSERT OR UPDATE OR DELETE ON links
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse();
        CREATE CONSTRAINT TRIGGER refuse_imports AFTER INSERT ON imports
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse();
    """

    @pytest.fixture
    async def refusing(self, live: Live) -> httpx.AsyncClient:
        await live.sign_in()
        assert (await live.client.post(LINKS, json=DECK)).status_code == 201
        query(live.resources.settings, self.REFUSE)
        return live.client

    async def test_redirects_stay_as_they_were(self, refusing: httpx.AsyncClient) -> None:
        new = {"url": "https://example.com/new"}
        for answer in (
            await refusing.patch(f"{LINKS}/deck", json=new),
            await refusing.delete(f"{LINKS}/deck"),
            await refusing.post(LINKS, json={**new, "slug": "new"}),
        ):
            check_problem(answer, 500, "internal_error")
        assert (await refusing.get("/deck")).headers["location"] == DECK["url"]
        check_problem(await refusing.get("/new"), 404, "link_not_found")

    async def test_no_worker_is_told_of_an_import(
        self, refusing: httpx.AsyncClient, live: Live
    ) -> None:
        content = csv_of("https://example.com/,one,,")
        answer = await refusing.post(IMPORTS, content=content, headers={"Content-Type": "text/csv"})
        check_problem(answer, 500, "internal_error")
        assert await live.resources.enqueuer.queue.count("queued") == 0
