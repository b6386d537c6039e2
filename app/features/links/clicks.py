"""Counting each click exactly once: a stream consumer, and what happens while Redis is down.

An advanced example: see this package's docstring. A redirect appends its click to a Redis stream
before it answers. The worker reads the stream from the consumer offset in Postgres, and commits the
counts and the new offset in one transaction: a crash repeats nothing and skips nothing.

While Redis is down, redirects count in Postgres. If an append was sent but never confirmed, the
click may be in the stream or not. Such clicks are saved as unconfirmed and reconciled with the
stream later.
"""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import cast
from uuid import UUID

import structlog
from redis.asyncio import Redis
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.features.links.cache import LATEST_RUN, STREAM
from app.features.links.models import ConsumerOffset, UnconfirmedClick

log = structlog.get_logger(__name__)

ENTRIES = 5000  # stream entries in one transaction
RECONCILE_AFTER = timedelta(seconds=3 * LATEST_RUN)  # no append can still be on its way
# Counted entries stay in the stream this long, so that reconciling finds them. That is six times
# the delay above: a request saves its unconfirmed clicks within the three seconds that it may take.
KEEP_COUNTED = timedelta(seconds=90)

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

SAVE_UNCONFIRMED = text("""
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

# The worker that counts or trims holds this lock. Another worker skips its turn.
LOCKED_OFFSET = (
    select(ConsumerOffset.offset)
    .where(ConsumerOffset.stream == STREAM)
    .with_for_update(skip_locked=True)
)


def whole_hour(seconds: float) -> datetime:
    """The hour, in UTC, that this time since the epoch lies in."""
    return datetime.fromtimestamp(seconds // 3600 * 3600, UTC)


async def count_directly(session: AsyncSession, sure: Counts, unsure: Unconfirmed) -> None:
    """Count `sure` in Postgres, and save `unsure` as unconfirmed: the stream may hold them."""
    await _add(session, sure)
    if unsure:
        values = {
            "batches": [batch for batch, _ in unsure],
            "links": [link_id for _, link_id in unsure],
            "clicks": list(unsure.values()),
        }
        await session.execute(SAVE_UNCONFIRMED, values)


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
    """Count the stream's next entries and reconcile what is due. Returns the number of entries.

    The caller commits. If another worker holds the lock of the offset, this does nothing.
    """
    offset = await session.scalar(LOCKED_OFFSET)
    if offset is None:
        return 0
    await _reconcile(session, redis)
    entries = await _read(redis, offset)
    if entries:
        counts: Counts = Counter()
        for entry_id, fields in entries:
            hour = whole_hour(int(entry_id.partition(b"-")[0]) / 1000)
            for link_id, clicks in _clicks_in(fields):
                counts[link_id, hour] += clicks
        await _add(session, counts)
        await session.execute(
            update(ConsumerOffset)
            .where(ConsumerOffset.stream == STREAM)
            .values(offset=entries[-1][0].decode())
        )
    else:
        await _number_after(redis, offset)
    return len(entries)


async def _number_after(redis: Redis, offset: str) -> None:
    """Have the stream number its next entries after the offset.

    They are numbered by Redis's clock. If the stream was lost, and that clock is behind the one of
    the Redis before, new clicks would come before the offset, and would not be counted.
    """
    last = "0-0"
    if await redis.exists(STREAM):
        last = (await redis.xinfo_stream(STREAM))["last-generated-id"].decode()
    if _parts(last) < _parts(offset):
        log.warning("clicks_stream_lost", last=last, offset=offset)
        milliseconds, number = _parts(offset)
        await redis.xadd(STREAM, {"b": "none"}, id=f"{milliseconds}-{number + 1}")


def _parts(entry_id: str) -> tuple[int, int]:
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number)


async def trim(session: AsyncSession, redis: Redis) -> None:
    """Remove stream entries that are counted and no longer needed to reconcile.

    Entries after the committed offset stay, and so do those that an unconfirmed click must still be
    compared with, however long the workers were down.
    """
    offset = await session.scalar(LOCKED_OFFSET)
    if offset is None:
        return
    oldest = await session.scalar(select(func.min(UnconfirmedClick.created_at)))
    seconds, _ = await redis.time()
    kept_from = seconds - KEEP_COUNTED.total_seconds()
    if oldest is not None:
        kept_from = min(kept_from, oldest.timestamp() - RECONCILE_AFTER.total_seconds())
    counted_to = int(offset.partition("-")[0])
    minid = str(min(int(kept_from * 1000), counted_to))
    await redis.xtrim(STREAM, minid=minid, approximate=False)


async def _read(redis: Redis, after: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
    entries = await redis.xrange(STREAM, min=f"({after}", count=ENTRIES)
    return cast("list[tuple[bytes, dict[bytes, bytes]]]", entries)


def _clicks_in(fields: dict[bytes, bytes]) -> list[tuple[UUID, int]]:
    return [(UUID(key.decode()), int(value)) for key, value in fields.items() if key != b"b"]


async def _reconcile(session: AsyncSession, redis: Redis) -> None:
    """Count the unconfirmed clicks that are not in the stream, and delete all that are due."""
    due = select(UnconfirmedClick).where(
        UnconfirmedClick.created_at < text("now() - :age").bindparams(age=RECONCILE_AFTER)
    )
    rows = list(await session.scalars(due))
    if not rows:
        return
    oldest = min(row.created_at for row in rows) - RECONCILE_AFTER
    appended = await _appended(redis, {row.batch.encode() for row in rows}, since=oldest)
    counts: Counts = Counter()
    for row in rows:
        if (row.batch, row.link_id) not in appended:
            counts[row.link_id, whole_hour(row.created_at.timestamp())] += row.clicks
    await _add(session, counts)
    batches = {row.batch for row in rows}
    await session.execute(delete(UnconfirmedClick).where(UnconfirmedClick.batch.in_(batches)))


async def _appended(redis: Redis, batches: set[bytes], *, since: datetime) -> set[tuple[str, UUID]]:
    """Which batches are in the stream since then, with their links."""
    found: set[tuple[str, UUID]] = set()
    after = str(int(since.timestamp() * 1000))
    while entries := await _read(redis, after):
        for _, fields in entries:
            if fields[b"b"] in batches:
                batch = fields[b"b"].decode()
                found.update((batch, link_id) for link_id, _ in _clicks_in(fields))
        after = entries[-1][0].decode()
    return found
