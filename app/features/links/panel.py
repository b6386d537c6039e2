"""The links' part of the page at `/`: the newest ones with their clicks, and the two forms."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from fastapi import Request
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.features.links import service
from app.features.links.clicks import whole_hour
from app.features.links.models import ClickCount, Link
from app.features.links.scopes import LINKS_READ, LINKS_WRITE
from app.features.tokens.auth import visit_of
from app.infra.db import reading
from app.infra.http.pages import PageRequest
from app.infra.lifespan import Resources

NEWEST = 8
HOURS = 24


@dataclass(frozen=True, slots=True)
class LinkView:
    slug: str
    url: str
    title: str | None
    created_at: datetime
    expired: bool
    clicks: int
    hours: list[int]  # clicks in each of the last HOURS, the running one last


async def load_panel(request: Request) -> Mapping[str, Any]:
    resources: Resources = request.state.resources
    caller = (await visit_of(request)).caller
    scopes = caller.scopes if caller else ()
    view: dict[str, Any] = {
        "signed_in": caller is not None,
        "may_write": LINKS_WRITE in scopes,
        "most_bytes": resources.settings.max_upload_bytes,
        "public_url": resources.settings.public_url,
        "hours": HOURS,
        "links": None,
        "made": None,
        "values": {},
        "faults": {},
    }
    if LINKS_READ in scopes:
        async with reading(resources.sessions) as session:
            view["links"] = await newest_links(session, now=datetime.now(UTC))
        # The address names the link that was made; only one that exists is shown.
        made = request.query_params.get("made")
        view["made"] = next((link for link in view["links"] if link.slug == made), None)
    return view


async def newest_links(session: AsyncSession, *, now: datetime) -> list[LinkView]:
    links = (await service.list_links(session, page=PageRequest(limit=NEWEST))).items
    totals = await service.total_clicks(session, links=links)
    lately = await _clicks_by_hour(session, links, now)
    return [
        LinkView(
            slug=link.slug,
            url=link.url,
            title=link.title,
            created_at=link.created_at,
            expired=link.has_expired(now),
            clicks=totals.get(link.id, 0),
            hours=lately[link.id],
        )
        for link in links
    ]


async def _clicks_by_hour(
    session: AsyncSession, links: Sequence[Link], now: datetime
) -> dict[UUID, list[int]]:
    """The clicks of each link in the last hours, the current hour last."""
    first = whole_hour(now.timestamp()) - timedelta(hours=HOURS - 1)
    query = select(ClickCount).where(
        ClickCount.link_id.in_([link.id for link in links]), ClickCount.hour >= first
    )
    found = {link.id: [0] * HOURS for link in links}
    for count in await session.scalars(query):
        index = int((count.hour - first) / timedelta(hours=1))
        if index < HOURS:  # the clock of the database may be ahead
            found[count.link_id][index] += count.clicks
    return found
