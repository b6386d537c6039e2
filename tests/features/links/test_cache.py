"""The cache: which of two writes stays, what a reader may write, and which clicks are counted."""

import time
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ResponseError

from app.features.links.cache import KEY, LEASE, STREAM, LinkCache, Target, make_entry
from app.features.links.models import Link
from app.features.links.runtime import LinksRuntime
from app.features.links.settings import LinksSettings
from app.infra.lifespan import Resources
from tests.polling import PATIENCE


@pytest.fixture
def cache(runtime: LinksRuntime) -> LinkCache:
    return runtime.cache


def link(url: str = "https://example.com/", *, expires_in: float | None = None) -> Link:
    expires = None if expires_in is None else datetime.now(UTC) + timedelta(seconds=expires_in)
    return Link(id=uuid4(), slug="deck", url=url, expires_at=expires)


async def keep(cache: LinkCache, **links: Link | None) -> None:
    """Cache these links, as a reader does."""
    await cache.follow("keep", dict.fromkeys(links, 0))
    for slug, found in links.items():
        await cache.fill(slug, found, lease="keep")


async def held(cache: LinkCache, slug: str = "deck") -> str | None:
    """Where the slug leads by the cache; "" for no link, "expired", or None for no entry."""
    (entry,) = await cache.follow("test", {slug: 0})
    if entry is None:
        return None
    if entry == b"expired":
        return "expired"
    target = Target.of_entry(entry)
    return target.url if target else ""


class TestEntry:
    """An entry holds the link's id, target and expiry, whatever its URL contains."""

    @given(st.uuids(), st.text(st.characters(min_codepoint=33, max_codepoint=126)))
    def test_it_is_read_as_it_was_written(self, link_id: UUID, path: str) -> None:
        url = f"https://example.com/{path}"
        entry = make_entry(Link(id=link_id, url=url, expires_at=None)).encode()
        assert Target.of_entry(entry) == Target(str(link_id), url)


class TestLease:
    """A reader writes what it has read, unless the link was changed since it looked."""

    async def test_it_writes_with_the_lease_of_its_lookup(
        self, cache: LinkCache, resources: Resources
    ) -> None:
        for slug, found in (("deck", link("https://example.com/a|b")), ("bow", None)):
            assert await cache.follow("mine", {slug: 0}) == [None]
            await cache.fill(slug, found, lease="mine")
            assert await held(cache, slug) == (found.url if found else "")
            ttl = await resources.redis.ttl(KEY + slug)
            assert LEASE < ttl <= resources.settings.of(LinksSettings).cache_ttl

    async def test_a_second_reader_gets_no_lease(self, cache: LinkCache) -> None:
        await cache.follow("first", {"deck": 0})
        assert await cache.follow("second", {"deck": 0}) == [None]
        await cache.fill("deck", link("https://example.com/second"), lease="second")
        assert await held(cache) is None
        await cache.fill("deck", link("https://example.com/first"), lease="first")
        assert await held(cache) == "https://example.com/first"

    @pytest.mark.parametrize("gone", ["changed", "evicted"])
    @pytest.mark.parametrize("other", [True, False])
    async def test_it_writes_nothing_after_a_change_or_an_eviction(
        self, cache: LinkCache, resources: Resources, gone: str, *, other: bool
    ) -> None:
        """Neither into nothing, nor over the lease or the entry of one who looked later."""
        await cache.follow("slow", {"deck": 0})
        if gone == "changed":
            await cache.forget(["deck"])
        else:
            await resources.redis.delete(f"{KEY}deck")
        if other:
            await cache.follow("quick", {"deck": 0})
        await cache.fill("deck", link("https://example.com/old"), lease="slow")
        assert await held(cache) is None
        if other:
            await cache.fill("deck", link("https://example.com/new"), lease="quick")
            await cache.fill("deck", link("https://example.com/old"), lease="slow")
            assert await held(cache) == "https://example.com/new"

    async def test_a_change_that_comes_late_deletes_only(self, cache: LinkCache) -> None:
        await keep(cache, deck=link("https://example.com/new"))
        await cache.forget(["deck"])
        await cache.forget(["deck", "bow"])
        assert await held(cache) is None


class TestClock:
    """Redis's clock decides what is too late. It may differ from ours by any time."""

    @pytest.mark.parametrize("ahead", [-10_000, 10_000])
    async def test_another_server_with_another_clock_costs_one_failure_at_most(
        self, cache: LinkCache, resources: Resources, ahead: float
    ) -> None:
        """After a failover, the last answer of the old server says nothing about the new one."""
        await keep(cache, deck=link())
        assert cache._ahead is not None
        cache._ahead -= ahead
        late = nullcontext() if ahead < 0 else pytest.raises(ResponseError, match="too late")
        with late:
            await cache.follow("first", {"deck": 1})
        await cache.follow("second", {"deck": 1})
        assert await resources.redis.xlen(STREAM) == (2 if ahead < 0 else 1)
        now, _ = await resources.redis.time()
        assert abs(cache._ahead / 1000 + time.monotonic() - now) < PATIENCE / 10


class TestFollow:
    """One run of the script looks slugs up, and counts the clicks of live links only."""

    async def test_live_ones_are_counted_under_the_batch(
        self, cache: LinkCache, resources: Resources
    ) -> None:
        live, later = link(), link(expires_in=60)
        await keep(cache, live=live, later=later, dead=None, over=link(expires_in=-1))
        clicks = {"live": 3, "later": 1, "dead": 1, "over": 1, "absent": 1}
        found = dict(zip(clicks, await cache.follow("batch-1", clicks), strict=True))
        stream: Any = await resources.redis.xrange(STREAM)
        counted = {str(live.id).encode(): b"3", str(later.id).encode(): b"1"}
        assert [fields for _, fields in stream] == [{b"b": b"batch-1", **counted}]
        assert found["over"] == b"expired"
        assert found["dead"] == b"-"
        assert found["absent"] is None

    async def test_nothing_live_leaves_no_trace(
        self, cache: LinkCache, resources: Resources
    ) -> None:
        await keep(cache, live=link())
        await cache.follow("batch-1", {"live": 0, "absent": 5})
        assert await resources.redis.exists(STREAM) == 0

    async def test_what_redis_runs_too_late_counts_nothing(
        self, cache: LinkCache, resources: Resources, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Otherwise an append could arrive after its clicks were reconciled."""
        await keep(cache, live=link())
        monkeypatch.setattr("app.features.links.cache.LATEST_RUN", -1)
        with pytest.raises(ResponseError, match="too late"):
            await cache.follow("batch-1", {"live": 1})
        assert await resources.redis.exists(STREAM) == 0
