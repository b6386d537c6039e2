"""The outbox of changed links: what the worker does if Redis failed at the change."""

from collections.abc import AsyncIterator

import pytest
from redis.exceptions import RedisError
from sqlalchemy import func, select

from app.config import Settings
from app.features.links.invalidation import repeat_some
from app.features.links.models import Invalidation
from app.infra.db import reading
from app.infra.lifespan import Resources
from tests.features.links.conftest import LINKS
from tests.features.links.uploading import upload, work
from tests.live import Live, run_service
from tests.problems import check_problem
from tests.sockets import unused_port, with_redis_at

OLD, NEW = "https://example.com/old", "https://example.com/new"


async def waiting(resources: Resources) -> int:
    async with reading(resources.sessions) as session:
        return int(await session.scalar(select(func.count()).select_from(Invalidation)) or 0)


@pytest.fixture
async def blind(own_settings: Settings, live: Live) -> AsyncIterator[Live]:
    """Another process of the same service, which does not reach Redis."""
    async with run_service(with_redis_at(own_settings, unused_port())) as other:
        other.client.headers.update(live.client.headers)
        await other.sign_in()
        yield other


class TestOutbox:
    """What a process could not delete from the cache, the worker deletes."""

    async def test_changes_of_a_process_that_does_not_reach_redis(
        self, live: Live, blind: Live
    ) -> None:
        for slug in ("changed", "deleted", "kept"):
            await blind.client.post(LINKS, json={"url": OLD, "slug": slug})
        check_problem(await live.client.get("/imported"), 404, "link_not_found")
        for slug in ("changed", "deleted", "kept"):
            assert (await live.client.get(f"/{slug}")).headers["location"] == OLD
        await blind.client.patch(f"{LINKS}/changed", json={"url": NEW})
        await blind.client.delete(f"{LINKS}/deleted")
        await work(blind.resources, await upload(blind.client, f"{NEW},imported,,"))
        assert await repeat_some(live.resources) == 6
        for slug in ("changed", "imported"):
            assert (await live.client.get(f"/{slug}")).headers["location"] == NEW
        check_problem(await live.client.get("/deleted"), 404, "link_not_found")
        assert await repeat_some(live.resources) == 0

    async def test_they_stay_while_the_worker_does_not_reach_redis_either(
        self, blind: Live
    ) -> None:
        await blind.client.post(LINKS, json={"url": OLD})
        with pytest.raises(RedisError):
            await repeat_some(blind.resources)
        assert await waiting(blind.resources) == 1

    async def test_no_more_than_some_at_once(
        self, live: Live, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.features.links.invalidation.AT_ONCE", 2)
        await live.sign_in()
        for _ in range(3):
            await live.client.post(LINKS, json={"url": OLD})
        assert [await repeat_some(live.resources) for _ in range(3)] == [2, 1, 0]
