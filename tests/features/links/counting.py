"""The stream, the counts and the unconfirmed clicks, for tests of counting."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select, text

from app.features.links.cache import STREAM
from app.features.links.models import Link, UnconfirmedClick
from app.infra.db import transaction
from app.infra.lifespan import Resources
from tests.service import Service


async def id_of(resources: Resources, slug: str) -> UUID:
    async with transaction(resources.sessions) as session:
        return (await session.scalars(select(Link.id).where(Link.slug == slug))).one()


async def counts(resources: Resources) -> dict[UUID, int]:
    async with transaction(resources.sessions) as session:
        found = await session.execute(
            text("SELECT link_id, sum(clicks)::int FROM click_counts GROUP BY 1")
        )
        return dict(found.all())


async def unconfirmed(resources: Resources) -> int:
    async with transaction(resources.sessions) as session:
        return len(list(await session.scalars(select(UnconfirmedClick.batch))))


def outbox(service: Service) -> int:
    """How many changed links the worker has not handled yet."""
    [(number,)] = service.query("SELECT count(*) FROM link_invalidations")
    return int(number)


async def append(
    resources: Resources, link_id: UUID, number: int, *, batch: str = "b", at: str = "*"
) -> None:
    """What the redirects' script appends."""
    fields: Any = {"b": batch, str(link_id): number}
    await resources.redis.xadd(STREAM, fields, id=at)


async def note(
    resources: Resources, batch: str, link_id: UUID, number: int, *, age: timedelta
) -> None:
    """Save unconfirmed clicks of a batch, as if that had been `age` ago."""
    async with transaction(resources.sessions) as session:
        created = datetime.now(UTC) - age
        session.add(
            UnconfirmedClick(batch=batch, link_id=link_id, clicks=number, created_at=created)
        )
