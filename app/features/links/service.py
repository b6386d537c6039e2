"""Create, find, list, change and delete links, and read their clicks."""

import secrets
from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.errors import FieldFault, ValidationFailed
from app.features.links.errors import LinkNotFound, SlugTaken
from app.features.links.models import ClickTotal, Link
from app.features.links.schemas import ClickBucket, LinkCreate, LinkUpdate
from app.infra.http.pages import PageRequest, Rows, read_page

# Without 0 O 1 l I, which people confuse when they type a slug from paper.
ALPHABET = "23456789abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ"
SLUG_LENGTH = 7  # 57**7, about 2e12 slugs; after a collision another one is tried
ATTEMPTS = 5

Bucket = Literal["hour", "day"]
MOST_BUCKETS = 2000  # a series; 83 days by the hour, 5 years by the day
DEFAULT_BUCKETS = {"hour": timedelta(days=2), "day": timedelta(days=30)}

COUNTED = select(Link, func.coalesce(ClickTotal.clicks, 0)).outerjoin(
    ClickTotal, ClickTotal.link_id == Link.id
)


def make_slug() -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(SLUG_LENGTH))


async def create_link(session: AsyncSession, *, data: LinkCreate, created_by: UUID) -> Link:
    """Raises `SlugTaken`. Of several requests at once for one slug, exactly one succeeds."""
    for _ in range(1 if data.slug else ATTEMPTS):
        link: Link | None = await session.scalar(
            insert(Link)
            .values(
                slug=data.slug or make_slug(),
                url=data.url,
                title=data.title,
                expires_at=data.expires_at,
                created_by=created_by,
            )
            .on_conflict_do_nothing(index_elements=[Link.slug])
            .returning(Link)
        )
        if link is not None:
            return link
    raise SlugTaken(f"The slug {data.slug!r} is taken: choose another.")


async def find_by_slug(session: AsyncSession, *, slug: str) -> Link | None:
    found: Link | None = await session.scalar(select(Link).where(Link.slug == slug))
    return found


async def find_link(
    session: AsyncSession, *, slug: str, lock: Literal["change", "delete"] | None = None
) -> Link:
    """Raises `LinkNotFound`. With `lock`, no other transaction can change the link meanwhile.

    A lock to change it lets its clicks be counted meanwhile.
    """
    query = select(Link).where(Link.slug == slug)
    if lock is not None:
        query = query.with_for_update(key_share=lock == "change")
    link = await session.scalar(query)
    if link is None:
        raise LinkNotFound(f"No link is called {slug!r}.")
    return link


async def find_counted(session: AsyncSession, *, slug: str) -> tuple[Link, int]:
    """A link and all its clicks, in one query. Raises `LinkNotFound`."""
    row = (await session.execute(COUNTED.where(Link.slug == slug))).one_or_none()
    if row is None:
        raise LinkNotFound(f"No link is called {slug!r}.")
    return row[0], row[1]


async def list_links(session: AsyncSession, *, page: PageRequest) -> Rows[Link]:
    """Newest first."""
    return await read_page(session, select(Link), Link.id, page)


async def change_link(session: AsyncSession, *, slug: str, data: LinkUpdate) -> tuple[Link, bool]:
    """The changed link, and whether it leads to another URL now. Raises `LinkNotFound`."""
    link = await find_link(session, slug=slug, lock="change")
    before = link.url
    for name in data.model_fields_set:
        setattr(link, name, getattr(data, name))
    await session.flush()
    return link, link.url != before


async def delete_link(session: AsyncSession, *, slug: str) -> None:
    """Delete a link and its clicks. Its slug is free from then on."""
    link = await find_link(session, slug=slug, lock="delete")
    await session.delete(link)
    await session.flush()


async def total_clicks(session: AsyncSession, *, links: list[Link]) -> dict[UUID, int]:
    """All clicks of each link. Links without clicks are absent."""
    query = select(ClickTotal.link_id, ClickTotal.clicks).where(
        ClickTotal.link_id.in_([link.id for link in links])
    )
    return dict((await session.execute(query)).all())


def bound_series(
    bucket: Bucket, since: datetime | None, until: datetime | None
) -> tuple[datetime, datetime]:
    """The start and the exclusive end of a series, in whole buckets. Raises `ValidationFailed`."""
    step = timedelta(hours=1) if bucket == "hour" else timedelta(days=1)
    end = _floor(until or datetime.now(UTC) + step, bucket)
    start = _floor(since, bucket) if since else end - DEFAULT_BUCKETS[bucket]
    if start >= end:
        detail = f"must lie at least one {bucket} after since"
        raise ValidationFailed("The time range is empty.", errors=[_fault("until", detail)])
    if (end - start) / step > MOST_BUCKETS:
        detail = f"at most {MOST_BUCKETS} buckets: choose a later since or a larger bucket"
        raise ValidationFailed("The time range is too long.", errors=[_fault("since", detail)])
    return start, end


def _floor(time: datetime, bucket: Bucket) -> datetime:
    whole = time.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return whole if bucket == "hour" else whole.replace(hour=0)


def _fault(field: str, detail: str) -> FieldFault:
    return {"field": f"query.{field}", "detail": detail}


async def click_series(
    session: AsyncSession, *, link: Link, bucket: Bucket, start: datetime, end: datetime
) -> list[ClickBucket]:
    """One bucket for each hour or day from `start` to before `end`, zeros included."""
    rows = await session.execute(
        text("""
            SELECT series.start, coalesce(sum(click_counts.clicks), 0)::bigint
            FROM generate_series(
                CAST(:start AS timestamptz),
                CAST(:end AS timestamptz) - CAST(:step AS interval),
                CAST(:step AS interval)
            ) AS series (start)
            LEFT JOIN click_counts ON click_counts.link_id = :link
                AND click_counts.hour >= series.start
                AND click_counts.hour < series.start + CAST(:step AS interval)
            GROUP BY series.start ORDER BY series.start
        """),
        {"start": start, "end": end, "step": f"1 {bucket}", "link": link.id},
    )
    return [ClickBucket(start=begin, clicks=clicks) for begin, clicks in rows]
