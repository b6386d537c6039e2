"""Redirects while Postgres is stopped, frozen or has no connection left."""

import asyncio
from collections.abc import Awaitable
from secrets import token_hex

import httpx
import pytest

from tests.faults.away import Away, frozen, stopped
from tests.faults.test_postgres_away import API_LIMIT, assert_recovers, full
from tests.features.links.counting import outbox
from tests.features.links.faults.visitors import Visitors
from tests.pace import Stopwatch, within
from tests.polling import until
from tests.service import Service

CLICKS = 100
MANY = 700  # redirects
UNNAMED = {"url": "https://example.com/"}
REDIRECT_LIMIT = API_LIMIT / 10  # a cached redirect does not wait for Postgres


class TestPostgresAway:
    """Without Postgres cached links redirect and are counted later; others answer 503 in time."""

    @pytest.mark.parametrize("away", [stopped, frozen, full])
    async def test_redirects(self, service: Service, away: Away) -> None:
        slug = f"cached-{token_hex(3)}"  # another one if the test runs again
        # On a busy machine Redis may need longer than usual. Redirects would go to Postgres then.
        app = service.another_app(REDIS_TIMEOUT="5")
        await asyncio.to_thread(app.wait_until, "/health")
        async with service.client(app) as client, Visitors(app.port) as visitors:
            body = {"url": "https://example.com/", "slug": slug}
            assert (await client.post("/api/v1/links", json=body)).status_code == 201
            # The worker deletes the entry once more, about a second after the change.
            await asyncio.to_thread(until, lambda: outbox(service) == 0)
            assert (await client.head(f"/{slug}")).status_code == 302
            async with away(service.postgres):
                with within(API_LIMIT) as stopwatch:
                    uncached = asyncio.create_task(measured(stopwatch, client.get(f"/un{slug}")))
                    with within(REDIRECT_LIMIT) as visits:
                        await visitors.stroll(lambda _: slug, rate=100, seconds=CLICKS / 100)
                        visits.took["a redirect"] = visitors.slowest
                    made = await measured(stopwatch, client.post("/api/v1/links", json=UNNAMED))
                    refused = await uncached
            await assert_recovers(client)
            assert (await client.get(f"/un{slug}")).status_code == 404
        for answer in (refused, made):
            assert_unavailable(answer)
        assert visitors.redirected == {slug: CLICKS}
        await asyncio.to_thread(until, lambda: clicks_of(service, slug) == CLICKS)


class TestBothFrozen:
    """While Redis and Postgres are frozen, many redirects at once answer 503 in time."""

    async def test_many_at_once(self, service: Service) -> None:
        async with service.client() as client, Visitors(service.app.port) as visitors:
            assert (await client.get("/nowhere")).status_code == 404
            async with frozen(service.postgres), frozen(service.redis):
                # The first meet open connections, the second have to connect.
                for _ in range(2):
                    with within(API_LIMIT) as stopwatch:
                        await asyncio.gather(*(visitors.visit("nowhere") for _ in range(MANY)))
                        stopwatch.took["a refusal"] = visitors.slowest
            await assert_recovers(client)
            assert (await client.get("/nowhere")).status_code == 404
        assert visitors.others == {503: 2 * MANY}


async def measured(stopwatch: Stopwatch, answer: Awaitable[httpx.Response]) -> httpx.Response:
    with stopwatch.measure("a refusal"):
        return await answer


def assert_unavailable(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.json()["code"]) == (503, "dependency_unavailable")
    assert int(answer.headers["retry-after"]) >= 1


def clicks_of(service: Service, slug: str) -> int:
    [(clicks,)] = service.query(
        "SELECT coalesce(sum(clicks), 0)::int FROM click_counts JOIN links ON id = link_id"
        " WHERE slug = %(slug)s",
        slug=slug,
    )
    return int(clicks)
