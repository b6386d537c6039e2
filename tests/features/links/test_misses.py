"""Slugs that do not exist: limited by address before Postgres is asked, cached within bounds."""

from dataclasses import replace
from itertools import count

import httpx
from redis import Redis

from app.config import Settings
from app.features.links.cache import KEY, NO_LINK
from app.features.links.places import EachSecond
from app.features.links.runtime import LinksRuntime
from app.infra.lifespan import Resources
from tests.conftest import MakeClient
from tests.features.links.conftest import LINKS, MakeLink
from tests.live import redis_admin, run_service
from tests.problems import check_problem
from tests.sockets import unused_port, with_redis_at
from tests.statements import counted_statements

numbers = count()


def unknown() -> str:
    return f"/unknown-{next(numbers)}"


async def statuses(client: httpx.AsyncClient, *paths: str) -> list[int]:
    return [(await client.get(path)).status_code for path in paths]


class TestLimit:
    """After RATE_LIMIT_MISS misses an address hears 429, and Postgres nothing. Hits go on."""

    async def test_an_address_with_too_many(
        self, make_client: MakeClient, make_link: MakeLink, resources: Resources
    ) -> None:
        await make_link(slug="deck")
        client = make_client(rate_limit_miss="3/hour", peer="2001:db8::1")
        assert await statuses(client, "/deck") == [302]  # caches it
        neighbour = make_client(rate_limit_miss="3/hour", peer="2001:db8:0:1::1")
        assert await statuses(client, *(unknown() for _ in range(3))) == [404] * 3
        with counted_statements() as statements:
            refused = await client.get(unknown())
            assert await statuses(client, "/deck", "/deck") == [302, 302]
            head = await client.head(unknown())
        problem = check_problem(refused, 429, "rate_limited")
        assert int(refused.headers["retry-after"]) > 0
        assert "3 in 3600 s" in problem["detail"]
        assert (head.status_code, statements) == (429, [])
        assert await statuses(neighbour, unknown()) == [404]

    async def test_what_exists_does_not_count(
        self, make_client: MakeClient, make_link: MakeLink, resources: Resources
    ) -> None:
        client = make_client(rate_limit_miss="1/hour", peer="198.51.100.1")
        for slug in ("one", "two", "three"):
            await make_link(slug=slug)
            with redis_admin(resources.settings) as redis:
                redis.flushdb()
            assert await statuses(client, f"/{slug}") == [302]  # read from Postgres
        assert await statuses(client, unknown()) == [404]
        assert await statuses(client, unknown()) == [429]

    async def test_a_missing_one_that_is_cached_does_not_count(
        self, make_client: MakeClient
    ) -> None:
        client = make_client(rate_limit_miss="1/hour", peer="198.51.100.1")
        path = unknown()
        assert await statuses(client, path, path, path) == [404] * 3

    async def test_without_redis_too(self, own_settings: Settings) -> None:
        settings = with_redis_at(own_settings, unused_port()).model_copy(
            update={"rate_limit_miss": "2/hour"}
        )
        async with run_service(settings) as live:
            await live.sign_in()
            body = {"url": "https://example.com/", "slug": "deck"}
            assert (await live.client.post(LINKS, json=body)).status_code == 201
            assert await statuses(live.client, "/deck", "/deck", "/deck") == [302] * 3
            paths = [unknown() for _ in range(3)]
            assert await statuses(live.client, *paths) == [404, 404, 429]


class TestCache:
    """A flood of misses writes a limited number of cache entries each second."""

    async def test_what_is_over_the_limit_is_not_cached(
        self, client: httpx.AsyncClient, resources: Resources, runtime: LinksRuntime
    ) -> None:
        with redis_admin(resources.settings) as redis:
            assert await statuses(client, unknown(), unknown()) == [404, 404]
            assert cached(redis) == 2
            resources.features["links"] = replace(runtime, new_misses=EachSecond(0))
            assert await statuses(client, unknown(), unknown()) == [404, 404]
            assert cached(redis) == 2


def cached(redis: Redis) -> int:
    """How many entries there are. A lease is none, and lasts for seconds only."""
    return sum(redis.get(key) == NO_LINK for key in redis.keys(f"{KEY}*"))
