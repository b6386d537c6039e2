"""GET /{slug}, each case twice: answered from Postgres first, then from the cache."""

from datetime import UTC, datetime
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text

from app.features.links.cache import KEY, STREAM
from app.features.links.models import Link
from app.features.links.runtime import LinksRuntime
from app.infra.db import transaction
from app.infra.lifespan import Resources
from tests.features.links.conftest import LINKS, MakeLink
from tests.live import redis_admin
from tests.problems import check_problem

EPOCH = datetime(1970, 1, 1, 1, tzinfo=UTC)


async def forget(resources: Resources) -> None:
    """Empty the cache, so that the next redirect has to read Postgres."""
    with redis_admin(resources.settings) as redis:
        redis.flushdb()


async def twice(client: httpx.AsyncClient, path: str) -> list[httpx.Response]:
    """The answer of the route, then that of the edge if it can answer."""
    return [await client.get(path), await client.get(path)]


def compared(answer: httpx.Response) -> tuple[int, dict[str, str], bytes]:
    headers = {name: value for name, value in answer.headers.items() if name != "x-request-id"}
    return answer.status_code, headers, answer.content


class TestRedirect:
    """A slug leads to exactly its URL, and no cache may keep the answer."""

    @pytest.mark.parametrize(
        "url",
        [
            *("https://example.com", "http://example.com/a?b=c#d", "HTTPS://Example.COM/%7Ea/../b"),
            *("https://example.com/a|b", "http://[::1]:8000/", "https://example.com/%C3%A6?q='x'"),
            "https://example.com/" + "x" * 2028,
        ],
    )
    async def test_the_route_and_the_edge_answer_302_to_the_target(
        self, client: httpx.AsyncClient, make_link: MakeLink, resources: Resources, url: str
    ) -> None:
        link = await make_link(url=url)
        await forget(resources)
        by_route, by_edge = await twice(client, f"/{link['slug']}")
        assert by_route.status_code == 302
        assert by_route.headers.get_list("location") == [url]
        assert by_route.headers["cache-control"] == "private, no-store"
        assert by_route.content == b""
        assert compared(by_edge) == compared(by_route)

    async def test_a_query_and_a_slash_make_no_other_slug(
        self, client: httpx.AsyncClient, make_link: MakeLink
    ) -> None:
        await make_link(slug="deck")
        assert (await client.get("/deck?utm_source=x")).status_code == 302
        assert (await client.get("/deck/")).status_code == 404
        assert (await client.get("/DECK")).status_code == 404


class TestMissing:
    """An unknown slug is 404, cached or not."""

    async def test_what_no_link_can_be_called_is_not_looked_up(
        self, client: httpx.AsyncClient, resources: Resources
    ) -> None:
        for path in ("/" + "x" * 4000, "/no%20slug", "/%00", "/a", "/deck%0a", "/-deck"):
            check_problem(await client.get(path), 404, "link_not_found")
        assert [key async for key in resources.redis.scan_iter(f"{KEY}*")] == []

    async def test_a_link_that_is_made_later_is_found(
        self, client: httpx.AsyncClient, make_link: MakeLink
    ) -> None:
        assert [answer.status_code for answer in await twice(client, "/deck")] == [404, 404]
        await make_link(slug="deck")
        assert [answer.status_code for answer in await twice(client, "/deck")] == [302, 302]


class TestChanges:
    """After a change was answered, the old target is not served again."""

    async def test_a_changed_and_a_deleted_link(
        self, api: httpx.AsyncClient, make_link: MakeLink
    ) -> None:
        for url in ("https://example.com/1", "https://example.com/2"):
            await make_link(slug="deck", url=url)
            for answer in await twice(api, "/deck"):
                assert answer.headers["location"] == url
            await api.patch(f"{LINKS}/deck", json={"url": "https://example.com/new"})
            for answer in await twice(api, "/deck"):
                assert answer.headers["location"] == "https://example.com/new"
            await api.delete(f"{LINKS}/deck")
            for answer in await twice(api, "/deck"):
                check_problem(answer, 404, "link_not_found")


class TestExpiry:
    """An expired link answers 410, cached or not."""

    async def test_one_that_expired_while_it_was_cached(
        self,
        client: httpx.AsyncClient,
        make_link: MakeLink,
        runtime: LinksRuntime,
    ) -> None:
        await make_link(slug="deck")
        assert (await client.get("/deck")).status_code == 302
        expired = Link(id=uuid4(), slug="deck", url="https://example.com/", expires_at=EPOCH)
        await runtime.cache.forget(["deck"])
        await runtime.cache.follow("mine", {"deck": 0})
        await runtime.cache.fill("deck", expired, lease="mine")
        for answer in await twice(client, "/deck"):
            check_problem(answer, 410, "link_expired")

    async def test_one_that_expired_long_ago_until_it_is_prolonged(
        self, api: httpx.AsyncClient, make_link: MakeLink, resources: Resources
    ) -> None:
        await make_link(slug="deck")
        async with transaction(resources.sessions) as session:
            await session.execute(text("UPDATE links SET expires_at = now() - interval '1 day'"))
        await forget(resources)
        for answer in await twice(api, "/deck"):
            check_problem(answer, 410, "link_expired")
        assert await resources.redis.xlen(STREAM) == 0  # no click
        await api.patch(f"{LINKS}/deck", json={"expires_at": None})
        for answer in await twice(api, "/deck"):
            assert answer.status_code == 302


class TestHead:
    """A HEAD is answered like a GET, and counts no click."""

    async def test_it_answers_like_a_get(
        self, client: httpx.AsyncClient, make_link: MakeLink, resources: Resources
    ) -> None:
        await make_link(slug="deck")
        await forget(resources)
        for answer in (await client.head("/deck"), await client.head("/deck")):
            assert answer.status_code == 302
            assert answer.headers["location"] == "https://example.com/"
        assert (await client.head("/nowhere")).status_code == 404
        assert await resources.redis.xlen(STREAM) == 0  # no click

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
    async def test_other_methods_are_405(
        self, client: httpx.AsyncClient, make_link: MakeLink, method: str
    ) -> None:
        await make_link(slug="deck")
        answer = await client.request(method, "/deck")
        check_problem(answer, 405, "method_not_allowed")
        assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}
