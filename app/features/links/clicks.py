"""Counting clicks, each exactly once: the stream's roll-up, the direct way, and what settles.

A redirect appends its click to a Redis stream before it answers. The roll-up reads the stream
from the position in Postgres and commits counts and position together, so a crash at any moment
repeats nothing and skips nothing. While Redis is away clicks are counted here at once; those whose
append was never confirmed are noted, and settled once the stream can tell.
"""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import cast
from uuid import UUID

from redis.asyncio import Redis
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.features.links.cache import LATEST_RUN, STREAM
from app.features.links.models import ClickPosition, UnsettledClick

ENTRIES = 5000  # stream entries in one transaction
SETTLE_AFTER = timedelta(seconds=3 * LATEST_RUN)  # no append can still be on its way
# Counted entries stay this long, so that the settling finds them. Six times its delay: a request
# lasts three seconds at most, and notes what is unconfirmed within that time.
KEEP = timedelta(seconds=90)

Counts = Counter[tuple[UUID, datetime]]  # by link and hour
Unconfirmed = Counter[tuple[str, UUID]]  # by batch and link

# The join drops clicks of links that are gone; its lock keeps them from going before the commit.
ADD_COUNTS = text("""
    INSERT INTO click_counts (link_id, hour, clicks)
    SELECT links.id, given.hour, given.clicks
    FROM unnest(CAST(:links AS uuid[]), CAST(:hours AS timestamptz[]), CAST(:clicks AS bigint[]))
         AS given (link_id, hour, clicks)
    JOIN links ON links.id = given.link_id
    ORDER BY links.id, given.hour
    FOR KEY SHARE OF links
    ON CONFLICT (link_id, hour) DO UPDATE SET clicks = click_counts.clicks + excluded.clicks
""")

NOTE_UNSETTLED = text("""
    INSERT INTO unsettled_clicks (batch, link_id, clicks)
    SELECT given.batch, links.id, given.clicks
    FROM unnest(CAST(:batches AS text[]), CAST(:links AS uuid[]), CAST(:clicks AS bigint[]))
         AS given (batch, link_id, clicks)
    JOIN links ON links.id = given.link_id
    ORDER BY links.id, given.batch
    FOR KEY SHARE OF links
    ON CONFLICT (batch, link_id)
    DO UPDATE SET clicks = unsettled_clicks.clicks + excluded.clicks
""")

# Whoever counts or trims holds this lock; who finds it held has nothing to do.
HELD_POSITION = (
    select(ClickPosition.position)
    .where(ClickPosition.stream == STREAM)
    .with_for_update(skip_locked=True)
)


def whole_hour(seconds: float) -> datetime:
    """The hour, in UTC, that this time since the epoch lies in."""
    return datetime.fromtimestamp(seconds // 3600 * 3600, UTC)


async def count_directly(session: AsyncSession, sure: Counts, unsure: Unconfirmed) -> None:
    """Count without the stream; `unsure` is noted, by the batch that may be in it already."""
    await _add(session, sure)
    if unsure:
        values = {
            "batches": [batch for batch, _ in unsure],
            "links": [link_id for _, link_id in unsure],
            "clicks": list(unsure.values()),
        }
        await session.execute(NOTE_UNSETTLED, values)


async def _add(session: AsyncSession, counts: Counts) -> None:
    if not counts:
        return
    values = {
        "links": [link_id for link_id, _ in counts],
        "hours": [hour for _, hour in counts],
        "clicks": list(counts.values()),
    }
    await session.execute(ADD_COUNTS, values)


async def roll_up(session: AsyncSession, redis: Redis) -> int:
    """Count the stream's next entries and settle what is due. Returns the number of entries.

    The caller commits. Workers take turns: whoever finds the position locked counts nothing.
    """
    position = await session.scalar(HELD_POSITION)
    if position is None:
        return 0
    await _settle(session, redis)
    entries = await _read(redis, position)
    if entries:
        counts: Counts = Counter()
        for entry_id, fields in entries:
            hour = whole_hour(int(entry_id.partition(b"-")[0]) / 1000)
            for link_id, clicks in _clicks_in(fields):
                counts[link_id, hour] += clicks
        await _add(session, counts)
        await session.execute(
            update(ClickPosition)
            .where(ClickPosition.stream == STREAM)
            .values(position=entries[-1][0].decode())
        )
    return len(entries)


async def trim(session: AsyncSession, redis: Redis) -> None:
    """Drop entries that are counted and too old to settle anything.

    Up to the position that is committed, under its lock, and nothing that a noted click may still
    have to be compared with, however long the workers were away.
    """
    position = await session.scalar(HELD_POSITION)
    if position is None:
        return
    oldest = await session.scalar(select(func.min(UnsettledClick.created_at)))
    seconds, _ = await redis.time()
    kept_from = seconds - KEEP.total_seconds()
    if oldest is not None:
        kept_from = min(kept_from, oldest.timestamp() - SETTLE_AFTER.total_seconds())
    counted_to = int(position.partition("-")[0])
    minid = str(min(int(kept_from * 1000), counted_to))
    await redis.xtrim(STREAM, minid=minid, approximate=False)


async def _read(redis: Redis, after: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
    entries = await redis.xrange(STREAM, min=f"({after}", count=ENTRIES)
    return cast("list[tuple[bytes, dict[bytes, bytes]]]", entries)


def _clicks_in(fields: dict[bytes, bytes]) -> list[tuple[UUID, int]]:
    return [(UUID(key.decode()), int(value)) for key, value in fields.items() if key != b"b"]


async def _settle(session: AsyncSession, redis: Redis) -> None:
    """Count unconfirmed clicks that the stream does not hold, and forget those it does."""
    due = select(UnsettledClick).where(
        UnsettledClick.created_at < text("now() - :age").bindparams(age=SETTLE_AFTER)
    )
    rows = list(await session.scalars(due))
    if not rows:
        return
    appended = await _appended(redis, {row.batch.encode() for row in rows})
    counts: Counts = Counter()
    for row in rows:
        if (row.batch, row.link_id) not in appended:
            counts[row.link_id, whole_hour(row.created_at.timestamp())] += row.clicks
    await _add(session, counts)
    batches = {row.batch for row in rows}
    await session.execute(delete(UnsettledClick).where(UnsettledClick.batch.in_(batches)))


async def _appended(redis: Redis, batches: set[bytes]) -> set[tuple[str, UUID]]:
    """Which links these batches did count in the stream."""
    found: set[tuple[str, UUID]] = set()
    after = "0"
    while entries := await _read(redis, after):
        for _, fields in entries:
            if fields[b"b"] in batches:
                batch = fields[b"b"].decode()
                found.update((batch, link_id) for link_id, _ in _clicks_in(fields))
        after = entries[-1][0].decode()
    return found
