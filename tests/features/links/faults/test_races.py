"""Many at once: creations of one slug, and readers while a link changes."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import httpx
import pytest

from tests.faults.visitors import Answer, Visitors
from tests.programs import App, eventually
from tests.service import Service

READERS = 4
ROUNDS = 30
REDIRECTS = 1000
LINKS = "/api/v1/links"


@pytest.fixture(scope="module")
def other_app(running: Service) -> Iterator[App]:
    """One that waits for a connection as long as it takes on a loaded machine.

    Its cache entries live for a second only, so that readers fill them again and again.
    """
    names = ("DATABASE_CONNECT_TIMEOUT", "DATABASE_POOL_TIMEOUT", "DATABASE_LEND_LIMIT")
    changed = {"CACHE_TTL": "1", **dict.fromkeys(names, "20")}
    app = App({**running.environment, **changed}, running.folder, name="other-app")
    app.start()
    app.wait_until("/health/ready")
    yield app
    app.kill()


class TestOneSlug:
    """Of fifty simultaneous creations of one slug one succeeds, and the others are told why."""

    async def test_created_fifty_times_at_once(self, service: Service, other_app: App) -> None:
        async with service.client(other_app) as client:
            bodies = [{"url": f"https://example.com/{n}", "slug": "once"} for n in range(50)]
            answers = await asyncio.gather(*(client.post(LINKS, json=body) for body in bodies))
            assert sorted(answer.status_code for answer in answers) == [201] + [409] * 49
            [made] = [answer.json() for answer in answers if answer.status_code == 201]
            refusals = [answer.json()["code"] for answer in answers if answer.status_code == 409]
            assert set(refusals) == {"slug_taken"}
            redirect = await client.get("/once")
        assert redirect.headers["location"] == made["url"]


Told = str | int  # where a redirect leads, or the status of another answer


def told(answer: Answer) -> Told:
    return answer.location or answer.status


class Change(NamedTuple):
    sent: float
    answered: float
    told: Told


@dataclass
class History:
    """What one slug was made to say, and what its readers heard at any moment."""

    changes: list[Change] = field(default_factory=list)
    heard: list[Answer] = field(default_factory=list)

    async def change(self, request: Awaitable[httpx.Response], *, says: Told) -> None:
        sent = time.monotonic()
        answer = await request
        if answer.status_code == 404 and not self.changes:
            return  # nothing was there before the first link
        assert answer.is_success, answer.text
        self.changes.append(Change(sent, time.monotonic(), says))

    @asynccontextmanager
    async def heard_by(self, *apps: Visitors) -> AsyncIterator[None]:
        """Connections that follow the slug without a pause."""

        async def read(visitors: Visitors) -> None:
            while True:
                self.heard.append(await visitors.follow("moving"))

        readers = [asyncio.create_task(read(apps[n % len(apps)])) for n in range(READERS)]
        try:
            yield
        finally:
            for reader in readers:
                reader.cancel()
            ended = await asyncio.gather(*readers, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ended), ended

    async def until_heard_again(self) -> None:
        heard = len(self.heard)

        async def more() -> bool:
            return len(self.heard) >= heard + 2 * READERS

        await eventually("the readers go on", more, seconds=5)

    def lies(self) -> list[tuple[Told, set[Told]]]:
        """What was told that no longer held, or did not hold yet, with what could be said then."""
        return [
            (told(answer), possible)
            for answer in self.heard
            if told(answer) not in (possible := self._possible(answer))
        ]

    def _possible(self, answer: Answer) -> set[Told]:
        """What was answered last before the request began, and all that was sent until it ended."""
        over = sum(change.answered < answer.started for change in self.changes)
        begun = [change for change in self.changes if change.sent < answer.ended]
        return {change.told for change in begun[max(0, over - 1) :]}


async def retarget(history: History, client: httpx.AsyncClient, url: str) -> None:
    await history.change(client.patch(f"{LINKS}/moving", json={"url": url}), says=url)


async def remake(history: History, client: httpx.AsyncClient, url: str) -> None:
    await history.change(client.delete(f"{LINKS}/moving"), says=404)
    await history.change(client.post(LINKS, json={"url": url, "slug": "moving"}), says=url)


class TestRedirectsNeverLie:
    """After a change was answered nobody is told what was before it, by whichever app."""

    async def test_while_a_link_is_changed_and_deleted_and_made_again(
        self, service: Service, other_app: App
    ) -> None:
        history = History()
        async with (
            service.client() as one,
            service.client(other_app) as other,
            Visitors(service.app.port) as here,
            Visitors(other_app.port) as there,
        ):
            await remake(history, one, "https://example.com/")
            async with history.heard_by(here, there):
                for number in range(ROUNDS):
                    change = (retarget, retarget, remake)[number % 3]
                    await change(history, (one, other)[number % 2], f"https://example.com/{number}")
                    await history.until_heard_again()
            await retarget(history, one, "https://example.com/last")
            answers = await asyncio.gather(*(follow_often(there) for _ in range(READERS)))
        assert {told(answer) for some in answers for answer in some} == {"https://example.com/last"}
        assert history.lies() == []


async def follow_often(visitors: Visitors) -> list[Answer]:
    return [await visitors.follow("moving") for _ in range(REDIRECTS // READERS)]
