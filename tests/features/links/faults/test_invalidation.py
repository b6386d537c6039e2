"""Changes while Redis fails, or while the process is killed: the old target does not come back."""

import asyncio
from secrets import token_hex

import httpx
import pytest

from tests.faults.away import Away, demoted, frozen, loading, out_of_memory, stopped
from tests.features.links.counting import outbox
from tests.polling import eventually, until
from tests.service import App, Service

LINKS = "/api/v1/links"
OLD, NEW = "https://example.com/old", "https://example.com/new"


@pytest.fixture
def app(service: Service) -> App:
    """An app that caches for so long that no entry expires in a test."""
    app = service.another_app(CACHE_TTL="3600")
    app.wait_until("/health")
    return app


@pytest.fixture
async def slug(service: Service, app: App) -> str:
    """A link whose old target is cached."""
    slug = f"fails-{token_hex(3)}"
    async with service.client(app) as client:
        assert (await client.post(LINKS, json={"url": OLD, "slug": slug})).status_code == 201
        # The worker deletes the entry of a new link, too.
        await asyncio.to_thread(until, lambda: outbox(service) == 0)
        assert await target(client, slug) == OLD
    return slug


async def target(client: httpx.AsyncClient, slug: str) -> str | None:
    answer = await client.get(f"/{slug}")
    return str(answer.headers["location"]) if answer.status_code == 302 else None


async def assert_leads_to_new(service: Service, app: App, slug: str) -> None:
    async with service.client(app) as client:

        async def healthy() -> bool:
            return (await client.get("/health")).status_code == 200

        async def done() -> bool:
            return await asyncio.to_thread(outbox, service) == 0

        await eventually("Redis works again", healthy)
        await eventually("the worker has repeated what failed", done)
        for _ in range(20):  # longer than a circuit breaker stays open
            assert await target(client, slug) == NEW
            await asyncio.sleep(0.1)


class TestChangeWithoutRedis:
    """A change while Redis fails is seen once Redis works again, long before CACHE_TTL ends."""

    @pytest.mark.parametrize("away", [stopped, frozen, loading, demoted, out_of_memory])
    async def test_it_is_repeated(self, service: Service, app: App, slug: str, away: Away) -> None:
        async with service.client(app) as client, away(service.redis):
            answer = await client.patch(f"{LINKS}/{slug}", json={"url": NEW})
            assert answer.status_code == 200
            assert await target(client, slug) == NEW
        await assert_leads_to_new(service, app, slug)

    async def test_a_process_that_is_killed_after_the_commit(
        self, service: Service, app: App, slug: str
    ) -> None:
        changing = service.another_app()
        await asyncio.to_thread(changing.wait_until, "/health")

        def committed() -> bool:
            return service.query("SELECT url FROM links WHERE slug = %(slug)s", slug=slug) == [
                (NEW,)
            ]

        async with service.client(changing) as client, stopped(service.redis):
            change = asyncio.create_task(client.patch(f"{LINKS}/{slug}", json={"url": NEW}))
            await asyncio.to_thread(until, committed, every=0.001)
            changing.kill()
            await asyncio.gather(change, return_exceptions=True)
        await assert_leads_to_new(service, app, slug)
