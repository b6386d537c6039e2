"""Reconciling unconfirmed clicks, and trimming the stream."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis
from sqlalchemy import select, update

from app.features.links import clicks
from app.features.links.cache import STREAM
from app.features.links.clicks import KEEP_COUNTED, RECONCILE_AFTER, trim, whole_hour
from app.features.links.models import ClickCount, ConsumerOffset
from app.infra.db import transaction
from app.infra.lifespan import Resources
from tests.features.links.conftest import MakeLink, RollUp
from tests.features.links.counting import append, counts, id_of, note, unconfirmed
from tests.live import Live


class TestReconcile:
    """Unconfirmed clicks count once: in the stream, or when they are reconciled."""

    DUE = RECONCILE_AFTER + timedelta(minutes=5)

    @pytest.mark.parametrize("counted_before", [True, False])
    async def test_those_in_the_stream_are_not_counted_again(
        self, deck: UUID, resources: Resources, roll_up: RollUp, *, counted_before: bool
    ) -> None:
        await append(resources, deck, 3, batch="arrived")
        if counted_before:
            await roll_up()
        await note(resources, "arrived", deck, 3, age=self.DUE)
        await roll_up()
        assert await counts(resources) == {deck: 3}
        assert await unconfirmed(resources) == 0

    async def test_those_that_never_arrived_are_counted_in_their_hour(
        self, deck: UUID, resources: Resources, roll_up: RollUp
    ) -> None:
        await append(resources, deck, 1, batch="another")
        await note(resources, "lost", deck, 3, age=timedelta(hours=5))
        await roll_up()
        assert await counts(resources) == {deck: 4}
        assert await unconfirmed(resources) == 0
        noted = whole_hour((datetime.now(UTC) - timedelta(hours=5)).timestamp())
        async with transaction(resources.sessions) as session:
            assert (await session.get_one(ClickCount, (deck, noted))).clicks == 3

    async def test_a_batch_may_hold_one_link_and_not_the_other(
        self, make_link: MakeLink, deck: UUID, resources: Resources, roll_up: RollUp
    ) -> None:
        """A link that was expired by Redis's clock and not yet by Postgres's."""
        await make_link(slug="bow")
        bow = await id_of(resources, "bow")
        await append(resources, deck, 1, batch="half")
        await note(resources, "half", deck, 1, age=self.DUE)
        await note(resources, "half", bow, 1, age=self.DUE)
        await roll_up()
        assert await counts(resources) == {deck: 1, bow: 1}

    async def test_it_waits_until_no_append_can_be_on_its_way(
        self, deck: UUID, resources: Resources, roll_up: RollUp
    ) -> None:
        await note(resources, "late", deck, 3, age=RECONCILE_AFTER - timedelta(seconds=5))
        await roll_up()
        assert await counts(resources) == {}
        assert await unconfirmed(resources) == 1

    async def test_it_reads_no_older_part_of_the_stream(
        self, deck: UUID, resources: Resources, roll_up: RollUp, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The append was sent seconds before the click was saved. The stream may be hours long."""
        now = datetime.now(UTC)
        sent, hours_ago = now - timedelta(seconds=62), now - timedelta(hours=3)
        for batch, at in (("old", hours_ago), ("arrived", sent)):
            await append(resources, deck, 1, batch=batch, at=f"{int(at.timestamp() * 1000)}-0")
        await roll_up()
        await note(resources, "arrived", deck, 1, age=timedelta(seconds=60))
        read: list[bytes] = []
        entries_in = clicks._read

        async def watch(redis: Redis, after: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
            entries = await entries_in(redis, after)
            read.extend(fields[b"b"] for _, fields in entries)
            return entries

        monkeypatch.setattr(clicks, "_read", watch)
        await roll_up()
        assert read == [b"arrived"]
        assert sum((await counts(resources)).values()) == 2
        assert await unconfirmed(resources) == 0

    async def test_it_reads_the_rest_of_the_stream(
        self, deck: UUID, resources: Resources, roll_up: RollUp, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(clicks, "ENTRIES", 2)
        for number in range(5):
            await append(resources, deck, 1, batch=f"b{number}")
        await note(resources, "b4", deck, 1, age=self.DUE)
        while await roll_up():
            pass
        assert await counts(resources) == {deck: 5}


async def trimmed(resources: Resources) -> int:
    """Trim as the worker does. Returns how many entries are left."""
    async with transaction(resources.sessions) as session:
        await trim(session, resources.redis)
    return int(await resources.redis.xlen(STREAM))


class TestTrim:
    """Entries are dropped once they are counted and no longer needed to reconcile."""

    def long_ago(self, seconds: float = 10) -> str:
        at = datetime.now(UTC) - KEEP_COUNTED - timedelta(seconds=seconds)
        return f"{int(at.timestamp() * 1000)}-0"

    async def test_old_ones_go_and_young_ones_stay(
        self, deck: UUID, resources: Resources, roll_up: RollUp
    ) -> None:
        await append(resources, deck, 1, at=self.long_ago())
        await append(resources, deck, 1)
        await roll_up()
        assert await trimmed(resources) == 1

    async def test_what_is_not_counted_stays_however_old(
        self, deck: UUID, resources: Resources, roll_up: RollUp
    ) -> None:
        await append(resources, deck, 1, at=self.long_ago())
        assert await trimmed(resources) == 1
        await roll_up()
        assert await counts(resources) == {deck: 1}

    async def test_what_an_unconfirmed_click_needs_stays_however_old(
        self, deck: UUID, resources: Resources, roll_up: RollUp
    ) -> None:
        await append(resources, deck, 1, batch="arrived", at=self.long_ago(100))
        await append(resources, deck, 1)
        await roll_up()
        await note(resources, "arrived", deck, 1, age=KEEP_COUNTED + timedelta(seconds=99))
        assert await trimmed(resources) == 2
        await roll_up()
        assert await counts(resources) == {deck: 2}
        assert await trimmed(resources) == 1

    async def test_whoever_finds_another_counting_trims_nothing(self, live: Live) -> None:
        await append(live.resources, uuid4(), 1, at="1-0")
        async with transaction(live.resources.sessions) as session:
            await session.execute(update(ConsumerOffset).values(offset="9-0"))
        async with transaction(live.resources.sessions) as session:
            await session.execute(select(ConsumerOffset).with_for_update())
            assert await trimmed(live.resources) == 1
        assert await trimmed(live.resources) == 0
