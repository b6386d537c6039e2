"""The cache: which of two writes stays, what a reader may write, and which clicks are counted."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ResponseError

from app.features.links.cache import KEY, STREAM, LinkCache, Target, make_entry
from app.features.links.models import Link
from app.features.links.runtime import LinksRuntime
from app.features.links.settings import LinksSettings
from app.infra.lifespan import Resources


@pytest.fixture
def cache(runtime: LinksRuntime) -> LinkCache:
    return runtime.cache


def link(url: str = "https://example.com/", *, expires_in: float | None = None) -> Link:
    expires = None if expires_in is None else datetime.now(UTC) + timedelta(seconds=expires_in)
    return Link(id=uuid4(), slug="deck", url=url, expires_at=expires)


async def held(cache: LinkCache) -> str | None:
    """Where the slug leads by the cache; "" for a tombstone, "expired", or None for nothing."""
    (entry,) = await cache.follow("test", {"deck": 0})
    if entry is None:
        return None
    if entry == b"expired":
        return "expired"
    target = Target.of_entry(entry)
    return target.url if target else ""


class TestEntry:
    """An entry holds the link's id, target and expiry, whatever its URL contains."""

    @given(st.uuids(), st.text(st.characters(min_codepoint=33, max_codepoint=126)), st.integers(0))
    def test_it_is_read_as_it_was_written(self, link_id: UUID, path: str, version: int) -> None:
        url = f"https://example.com/{path}"
        entry = make_entry(Link(id=link_id, url=url, expires_at=None), version).encode()
        assert Target.of_entry(entry) == Target(str(link_id), url)


class TestWriters:
    """Of two writes to a slug the later one stays, whichever reaches Redis first."""

    @pytest.mark.parametrize("stays", [link("https://example.com/stays"), None])
    @pytest.mark.parametrize("loses", [link("https://example.com/loses"), None])
    @pytest.mark.parametrize("late", [True, False])
    async def test_the_higher_version_stays(
        self, cache: LinkCache, stays: Link | None, loses: Link | None, *, late: bool
    ) -> None:
        for version in (10, 9) if late else (9, 10):
            await cache.put("deck", stays if version == 10 else loses, version)
        assert await held(cache) == (stays.url if stays else "")

    async def test_many_at_once_obey_the_same(self, cache: LinkCache) -> None:
        await cache.put("deck", None, 10)
        other = link()
        other.slug = "bow"
        await cache.put_all([link("https://example.com/late"), other], 9)
        assert await held(cache) == ""
        assert (await cache.follow("test", {"bow": 0}))[0] is not None

    async def test_what_they_write_lives_for_its_ttl(
        self, cache: LinkCache, resources: Resources
    ) -> None:
        await cache.put("deck", link(), 1)
        await cache.fill("bow", None)
        for slug in ("deck", "bow"):
            assert (
                0
                < await resources.redis.ttl(KEY + slug)
                <= resources.settings.of(LinksSettings).cache_ttl
            )


class TestReaders:
    """A reader writes only where there is no entry."""

    @pytest.mark.parametrize("written", [link("https://example.com/written"), None])
    async def test_a_writer_overwrites_what_a_reader_wrote_and_not_the_reverse(
        self, cache: LinkCache, written: Link | None
    ) -> None:
        assert await held(cache) is None
        await cache.fill("deck", None)
        assert await held(cache) == ""
        await cache.put("deck", written, 1)
        await cache.fill("deck", link("https://example.com/read-before"))
        assert await held(cache) == (written.url if written else "")


class TestFollow:
    """One run of the script looks slugs up, and counts the clicks of live links only."""

    async def test_live_ones_are_counted_under_the_batch(
        self, cache: LinkCache, resources: Resources
    ) -> None:
        live, later = link(), link(expires_in=60)
        await cache.put("live", live, 1)
        await cache.put("later", later, 2)
        await cache.put("dead", None, 3)
        await cache.put("over", link(expires_in=-1), 4)
        clicks = {"live": 3, "later": 1, "dead": 1, "over": 1, "absent": 1}
        found = dict(zip(clicks, await cache.follow("batch-1", clicks), strict=True))
        stream: Any = await resources.redis.xrange(STREAM)
        counted = {str(live.id).encode(): b"3", str(later.id).encode(): b"1"}
        assert [fields for _, fields in stream] == [{b"b": b"batch-1", **counted}]
        assert found["over"] == b"expired"
        assert found["dead"] == b"3|-"
        assert found["absent"] is None

    async def test_nothing_live_leaves_no_trace(
        self, cache: LinkCache, resources: Resources
    ) -> None:
        await cache.put("live", link(), 1)
        await cache.follow("batch-1", {"live": 0, "absent": 5})
        assert await resources.redis.exists(STREAM) == 0

    async def test_what_redis_runs_too_late_counts_nothing(
        self, cache: LinkCache, resources: Resources, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Otherwise an append could arrive after its clicks were reconciled."""
        await cache.put("live", link(), 1)
        monkeypatch.setattr("app.features.links.cache.LATEST_RUN", -1)
        with pytest.raises(ResponseError, match="too late"):
            await cache.follow("batch-1", {"live": 1})
        assert await resources.redis.exists(STREAM) == 0
