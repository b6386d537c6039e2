"""The purge of old rows."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
import pytest
from sqlalchemy import select, update

from app.features.links import tasks
from app.features.links.models import ClickCount, Import, Link
from app.features.links.tasks import purge
from app.infra.db import transaction
from app.infra.lifespan import Resources
from tests.features.links.conftest import MakeLink, RollUp
from tests.features.links.counting import append
from tests.features.links.uploading import age, upload, work

ROWS = [f"https://example.com/{number},link-{number},," for number in range(3)]


class TestPurge:
    """Links that expired 30 days ago go with their clicks, and so do old imports."""

    @pytest.mark.parametrize(("days", "kept"), [(-1, True), (29, True), (31, False)])
    async def test_links(
        self,
        make_link: MakeLink,
        deck: UUID,
        resources: Resources,
        roll_up: RollUp,
        days: int,
        *,
        kept: bool,
    ) -> None:
        await make_link(slug="other")
        await append(resources, deck, 1)
        await roll_up()
        async with transaction(resources.sessions) as session:
            expiry = datetime.now(UTC) - timedelta(days=days)
            await session.execute(update(Link).where(Link.id == deck).values(expires_at=expiry))
        await purge({"resources": resources})
        async with transaction(resources.sessions) as session:
            slugs = set(await session.scalars(select(Link.slug)))
            counted = list(await session.scalars(select(ClickCount.link_id)))
        assert slugs == ({"deck", "other"} if kept else {"other"})
        assert counted == ([deck] if kept else [])

    async def test_imports(self, api: httpx.AsyncClient, resources: Resources) -> None:
        old, young, unfinished = [await upload(api, row) for row in ROWS]
        for job in (old, young):
            await work(resources, job)
        for job in (old, unfinished):
            await age(resources, job, tasks.KEEP_IMPORTS + timedelta(days=1))
        await purge({"resources": resources})
        async with transaction(resources.sessions) as session:
            left = {str(found) for found in await session.scalars(select(Import.id))}
        assert left == {young["id"], unfinished["id"]}
