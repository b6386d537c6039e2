"""Counting clicks: the roll-up of the stream, and the direct way while Redis is away."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import select

from app.features.links import clicks
from app.features.links.cache import STREAM
from app.features.links.clicks import count_directly, whole_hour
from app.features.links.models import ClickCount, UnconfirmedClick
from app.infra.db import transaction
from app.infra.lifespan import Resources
from tests.features.links.conftest import LINKS, MakeLink, RollUp
from tests.features.links.counting import append, counts, id_of
from tests.live import Live


class TestRollUp:
    """Every entry of the stream is counted once, whatever happens in between."""

    async def test_a_second_run_counts_nothing_twice(
        self, client: httpx.AsyncClient, deck: UUID, resources: Resources, roll_up: RollUp
    ) -> None:
        assert (await client.get("/deck")).status_code == 302
        assert [await roll_up(), await roll_up()] == [1, 0]
        await append(resources, deck, 4)
        assert await roll_up() == 1
        assert await counts(resources) == {deck: 5}

    async def test_a_run_that_fails_is_done_again_as_a_whole(
        self, deck: UUID, resources: Resources, roll_up: RollUp
    ) -> None:
        await append(resources, deck, 3)
        with pytest.raises(ConnectionError):
            await roll_up_and_fail(resources)
        assert await counts(resources) == {}
        await roll_up()
        assert await counts(resources) == {deck: 3}

    async def test_each_click_belongs_to_the_hour_of_its_entry(
        self, deck: UUID, resources: Resources, roll_up: RollUp
    ) -> None:
        first = datetime(2026, 3, 1, 10, 59, 59, 999_000, tzinfo=UTC)
        for at, number in ((first, 1), (first + timedelta(milliseconds=1), 2)):
            await append(resources, deck, number, at=f"{int(at.timestamp() * 1000)}-0")
        await roll_up()
        async with transaction(resources.sessions) as session:
            rows = await session.execute(select(ClickCount.hour, ClickCount.clicks))
            assert dict(rows.all()) == {
                datetime(2026, 3, 1, 10, tzinfo=UTC): 1,
                datetime(2026, 3, 1, 11, tzinfo=UTC): 2,
            }

    async def test_a_long_stream_is_counted_in_portions(
        self, deck: UUID, resources: Resources, roll_up: RollUp, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(clicks, "ENTRIES", 4)
        for _ in range(10):
            await append(resources, deck, 1)
        assert [await roll_up() for _ in range(4)] == [4, 4, 2, 0]
        assert await counts(resources) == {deck: 10}

    async def test_clicks_of_deleted_links_are_dropped(
        self,
        api: httpx.AsyncClient,
        make_link: MakeLink,
        deck: UUID,
        resources: Resources,
        roll_up: RollUp,
    ) -> None:
        await make_link(slug="gone")
        await append(resources, await id_of(resources, "gone"), 1)
        await append(resources, deck, 2)
        await api.delete(f"{LINKS}/gone")
        await roll_up()
        assert await counts(resources) == {deck: 2}
        assert await roll_up() == 0

    async def test_whoever_finds_another_counting_counts_nothing(self, live: Live) -> None:
        await live.sign_in()
        await live.client.post(LINKS, json={"url": "https://example.com/", "slug": "deck"})
        await live.client.get("/deck")
        async with transaction(live.resources.sessions) as session:
            assert await clicks.roll_up(session, live.resources.redis) == 1
            async with transaction(live.resources.sessions) as other:
                assert await clicks.roll_up(other, live.resources.redis) == 0
        assert sum((await counts(live.resources)).values()) == 1


class TestStreamLost:
    """If Redis lost the stream and its clock is behind, the next clicks are counted too."""

    @pytest.mark.parametrize("left", [True, False])
    async def test_new_entries_come_after_the_offset(
        self, deck: UUID, resources: Resources, roll_up: RollUp, *, left: bool
    ) -> None:
        """`left`: an older part of the stream is there, as after a failover to a replica."""
        seconds, _ = await resources.redis.time()
        await append(resources, deck, 1)
        await append(resources, deck, 1, at=f"{(seconds + 3600) * 1000}-7")
        assert await roll_up() == 2
        await resources.redis.delete(STREAM)
        if left:
            await append(resources, deck, 1, at=f"{seconds * 1000}-0")
        assert await roll_up() == 0
        await append(resources, deck, 1)
        await roll_up()
        assert await counts(resources) == {deck: 3}


async def roll_up_and_fail(resources: Resources) -> None:
    async with transaction(resources.sessions) as session:
        await clicks.roll_up(session, resources.redis)
        raise ConnectionError


class TestDirectly:
    """While Redis is down, clicks are counted in Postgres or saved as unconfirmed."""

    async def test_sure_ones_are_counted_and_unsure_ones_are_saved_by_batch(
        self, deck: UUID, resources: Resources
    ) -> None:
        hour = whole_hour(datetime.now(UTC).timestamp())
        gone = uuid4()  # no link has this id
        async with transaction(resources.sessions) as session:
            sure, unsure = Counter({(deck, hour): 2, (gone, hour): 1}), Counter({("b", deck): 2})
            await count_directly(session, sure, unsure)
            sure, unsure = Counter({(deck, hour): 3}), Counter({("b", deck): 1, ("c", deck): 4})
            await count_directly(session, sure, unsure + Counter({("b", gone): 1}))
            saved = await session.execute(select(UnconfirmedClick.batch, UnconfirmedClick.clicks))
            assert dict(saved.all()) == {"b": 3, "c": 4}
        assert await counts(resources) == {deck: 5}
