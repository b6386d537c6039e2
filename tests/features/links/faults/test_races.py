"""Many at once: creations of one slug, and readers while a link changes."""

import asyncio
from collections.abc import Iterator
from secrets import token_hex

import httpx
import pytest
from redis.asyncio import Redis

from tests.features.links.faults.history import READERS, History, outcome
from tests.features.links.faults.visitors import Answer, Visitors
from tests.service import App, Service

ROUNDS = 30
REDIRECTS = 1000
LINKS = "/api/v1/links"


@pytest.fixture(scope="module")
def other_app(running: Service) -> Iterator[App]:
    """One more, which waits for a connection as long as it takes on a loaded machine."""
    names = ("DATABASE_CONNECT_TIMEOUT", "DATABASE_POOL_TIMEOUT", "DATABASE_CHECKOUT_LIMIT")
    limits = {**dict.fromkeys(names, "20"), "DATABASE_GIVE_UP_AFTER": "60"}
    environment = {**running.environment, **limits}
    with App(environment, running.folder, token=running.token, name="other-app") as app:
        yield app


class TestOneSlug:
    """Of fifty simultaneous creations of one slug one succeeds, and the others answer 409."""

    async def test_created_fifty_times_at_once(self, service: Service, other_app: App) -> None:
        slug = f"once-{token_hex(3)}"
        async with service.client(other_app) as client:
            bodies = [{"url": f"https://example.com/{n}", "slug": slug} for n in range(50)]
            answers = await asyncio.gather(*(client.post(LINKS, json=body) for body in bodies))
            assert sorted(answer.status_code for answer in answers) == [201] + [409] * 49
            [made] = [answer.json() for answer in answers if answer.status_code == 201]
            refusals = [answer.json()["code"] for answer in answers if answer.status_code == 409]
            assert set(refusals) == {"slug_taken"}
            redirect = await client.get(f"/{slug}")
        assert redirect.headers["location"] == made["url"]


async def retarget(history: History, client: httpx.AsyncClient, url: str) -> None:
    await history.change(client.patch(f"{LINKS}/{history.slug}", json={"url": url}), says=url)


async def make(history: History, client: httpx.AsyncClient, url: str) -> None:
    await history.change(client.post(LINKS, json={"url": url, "slug": history.slug}), says=url)


async def remake(history: History, client: httpx.AsyncClient, url: str) -> None:
    await history.change(client.delete(f"{LINKS}/{history.slug}"), says=404)
    await history.until_heard_again()
    await make(history, client, url)


class TestRedirectsNeverLie:
    """After the answer to a change, no app redirects to what was before it."""

    async def test_while_a_link_is_changed_and_deleted_and_made_again(
        self, service: Service, other_app: App
    ) -> None:
        async with (
            service.client() as one,
            service.client(other_app) as other,
            Visitors(service.app.port) as here,
            Visitors(other_app.port) as there,
            Redis.from_url(service.redis.url) as redis,
        ):
            history = History(redis)
            await make(history, one, "https://example.com/")
            async with history.heard_by(here, there):
                for number in range(ROUNDS):
                    change = (retarget, retarget, remake)[number % 3]
                    await change(history, (one, other)[number % 2], f"https://example.com/{number}")
                    await history.until_heard_again()
                await retarget(history, one, "https://example.com/last")
            answers = await asyncio.gather(
                *(follow_often(there, history.slug) for _ in range(READERS))
            )
        assert {outcome(answer) for some in answers for answer in some} == {
            "https://example.com/last"
        }
        assert history.lies() == []


async def follow_often(visitors: Visitors, slug: str) -> list[Answer]:
    return [await visitors.follow(slug) for _ in range(REDIRECTS // READERS)]
