"""Clicks while the worker, Redis and the app are killed: none is lost, none is counted twice."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from secrets import token_hex

import httpx
import pytest
from redis import Redis

from app.features.links.cache import STREAM
from tests.features.links.faults.visitors import Visitors
from tests.polling import until
from tests.service import Service

log = logging.getLogger(__name__)

RATE = 200.0  # clicks a second
FIRST_LINKS = 8  # of each phase; another one comes each second
# What may be in the stream already is reconciled 15 s after it was saved, by a roll-up that looks
# twice a second.
RECONCILED_SECONDS = 30.0


async def kill_worker_twice(service: Service) -> None:
    for _ in range(2):
        await asyncio.sleep(1.5)
        service.worker.kill()
        service.worker.start()


async def freeze_redis(service: Service) -> None:
    await asyncio.sleep(1.5)
    service.redis.freeze()
    await asyncio.sleep(2)
    service.redis.thaw()


async def kill_redis(service: Service) -> None:
    await asyncio.sleep(1.5)
    await asyncio.to_thread(service.redis.kill)
    await asyncio.sleep(1.5)
    await asyncio.to_thread(service.redis.start)


async def kill_app(service: Service) -> None:
    await asyncio.sleep(1.5)
    service.app.kill()
    service.app.start()


@dataclass
class Phase:
    """A part of the thirty seconds, with links of its own: each fault answers for itself."""

    name: str
    seconds: float
    fault: Callable[[Service], Awaitable[None]]
    slugs: list[str] = field(default_factory=list)

    async def run(self, visitors: Visitors, service: Service) -> None:
        async with service.client() as api, asyncio.TaskGroup() as parallel:
            for _ in range(FIRST_LINKS):
                await self._make_link(api)
            parallel.create_task(visitors.stroll(self._choose, rate=RATE, seconds=self.seconds))
            parallel.create_task(self._make_more_links(api))
            parallel.create_task(self.fault(service))  # type: ignore[arg-type]

    def _choose(self, number: int) -> str:
        return self.slugs[number % len(self.slugs)]

    def figures(self, visitors: Visitors, counted: Counter[str]) -> dict[str, int]:
        return {
            "told": sum(visitors.redirected[slug] for slug in self.slugs),
            "counted": sum(counted[slug] for slug in self.slugs),
            "lost": sum(visitors.lost[slug] for slug in self.slugs),
        }

    async def _make_more_links(self, api: httpx.AsyncClient) -> None:
        for _ in range(int(self.seconds)):
            await asyncio.sleep(0.8)
            await self._make_link(api)

    async def _make_link(self, api: httpx.AsyncClient) -> None:
        slug = f"{self.name}-{token_hex(4)}"
        body = {"slug": slug, "url": f"https://example.com/{slug}"}
        try:
            answer = await api.post("/api/v1/links", json=body)
        except httpx.TransportError:
            return  # the app is being killed
        assert answer.status_code == 201, answer.text
        self.slugs.append(slug)


def counts(service: Service) -> Counter[str]:
    rows = service.query(
        "SELECT slug, sum(clicks)::int FROM click_counts JOIN links ON id = link_id GROUP BY slug"
    )
    return Counter(dict(rows))


def totals(service: Service) -> Counter[str]:
    """As the API shows them."""
    rows = service.query(
        "SELECT slug, kept.clicks FROM click_totals AS kept JOIN links ON id = link_id"
    )
    return Counter(dict(rows))


def wait_until_reconciled(service: Service) -> float:
    """Return once nothing is left to count, in the stream or among what was never confirmed."""

    def reconciled() -> bool:
        [(position, unsettled)] = service.query(
            "SELECT position, (SELECT count(*) FROM unsettled_clicks) FROM click_positions"
        )
        newest: bytes = redis.xinfo_stream(STREAM)["last-generated-id"]
        return (unsettled, position) == (0, newest.decode())

    with Redis.from_url(service.redis.url) as redis:
        started = time.monotonic()
        until(reconciled, within=RECONCILED_SECONDS)
        return time.monotonic() - started


class TestClicksAreCountedExactlyOnce:
    """An acknowledged click is counted, once, whatever was killed meanwhile."""

    @pytest.mark.timeout(180)
    async def test_at_200_a_second_for_30_seconds(self, service: Service) -> None:
        before_app = [
            Phase("worker", 7, kill_worker_twice),
            Phase("frozen", 7, freeze_redis),
            Phase("redis", 8, kill_redis),
        ]
        app_phase = Phase("app", 8, kill_app)
        async with Visitors(service.app.port) as visitors:
            for phase in before_app:
                await phase.run(visitors, service)
            assert (visitors.lost, visitors.refused) == (Counter(), 0)
            await app_phase.run(visitors, service)
        log.info("reconciled after %.1f s", wait_until_reconciled(service))
        counted = counts(service)
        assert totals(service) == counted
        for phase in (*before_app, app_phase):
            log.info("%s: %s", phase.name, phase.figures(visitors, counted))
        log.info("slowest redirect: %.3f s; %d found no app", visitors.slowest, visitors.refused)
        # Everybody was sent on, but those who found no app, or lost it.
        assert visitors.others == Counter()
        told = visitors.redirected
        for phase in before_app:
            assert {slug: counted[slug] for slug in phase.slugs} == {
                slug: told[slug] for slug in phase.slugs
            }
        for slug in app_phase.slugs:
            assert told[slug] <= counted[slug] <= told[slug] + visitors.lost[slug], slug
