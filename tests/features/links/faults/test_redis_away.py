"""Redirects and links while Redis is stopped, frozen or slow."""

import asyncio
from collections.abc import Iterator
from itertools import count

import httpx
import pytest

from tests.faults.away import (
    Away,
    Proxy,
    demoted,
    frozen,
    loading,
    out_of_memory,
    stopped,
)
from tests.faults.latency import Request, watch
from tests.faults.test_redis_away import PROMISED, assert_recovers
from tests.service import Service

SLOW = 0.3  # seconds for each chunk, each way

numbers: Iterator[int] = count()


async def make_link(client: httpx.AsyncClient) -> httpx.Response:
    body = {"url": "https://example.com/", "slug": f"away-{next(numbers)}"}
    return await client.post("/api/v1/links", json=body)


async def follow_cached(client: httpx.AsyncClient) -> httpx.Response:
    answer = await client.get("/kept")
    assert answer.headers.get("location") == "https://example.com/kept", answer.text
    return answer


async def follow_unknown(client: httpx.AsyncClient) -> httpx.Response:
    return await client.get(f"/unknown-{next(numbers)}")


async def change_link(client: httpx.AsyncClient) -> httpx.Response:
    return await client.patch("/api/v1/links/changing", json={"title": f"{next(numbers)}"})


KINDS: dict[str, Request] = {
    "make": make_link,
    "change": change_link,
    "cached": follow_cached,
    "unknown": follow_unknown,
}


async def prepare(client: httpx.AsyncClient) -> None:
    for slug in ("kept", "changing"):
        body = {"url": f"https://example.com/{slug}", "slug": slug}
        assert (await client.post("/api/v1/links", json=body)).status_code in {201, 409}


class TestRedisAway:
    """Without Redis redirects and links work, and no request takes 0.3 s longer for it."""

    @pytest.mark.parametrize("away", [stopped, frozen, loading, demoted, out_of_memory])
    async def test_stopped_and_frozen(self, service: Service, away: Away) -> None:
        async with service.client() as client:
            await prepare(client)
            usual = await watch(service, client, KINDS, seconds=1)
            async with away(service.redis):
                seen = await watch(service, client, KINDS, seconds=2.5)
            await assert_recovers(client)
        seen.assert_answered(make=201, change=200, cached=302, unknown=404)
        seen.assert_no_slower_than(usual, by=PROMISED)

    async def test_slow(self, service: Service) -> None:
        async with Proxy(service.redis.port) as network:
            url = service.redis.url.replace(f":{service.redis.port}", f":{network.port}")
            app = service.another_app(REDIS_URL=url)
            await asyncio.to_thread(app.wait_until, "/health")
            async with service.client(app) as client:
                await prepare(client)
                usual = await watch(service, client, KINDS, seconds=1)
                network.delay = SLOW
                seen = await watch(service, client, KINDS, seconds=2.5)
                network.delay = 0
                await assert_recovers(client)
        seen.assert_answered(make=201, change=200, cached=302, unknown=404)
        seen.assert_no_slower_than(usual, by=PROMISED)
