"""Under load, a new version loses no redirect, and a crash only what the process held.

Neither miscounts a redirect that was answered, or makes two links.

STACK_LOAD_SECONDS=60 makes each case as long as a release claims. By default they are shorter.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from secrets import token_hex

import httpx
import pytest

from tests.polling import until
from tests.stack.images import TWO
from tests.stack.load import CONNECTIONS, under_load
from tests.stack.stack import Stack, is_ready, signal_worker

SECONDS = float(os.environ.get("STACK_LOAD_SECONDS", "5"))
RATE = 200  # requests a second; nearly all are redirects from the cache
POST_EVERY = 20  # one of so many requests makes a link, which may not be made twice
LINKS = "/api/v1/links"
MADE = "https://example.com/made-under-load"
SLUGS = [f"loaded-{token_hex(3)}" for _ in range(20)]
KILLS = 3

pytestmark = pytest.mark.timeout(240 + SECONDS)


@pytest.fixture(scope="module", autouse=True)
def loaded(api: httpx.Client) -> None:
    for slug in SLUGS:
        link = {"url": "https://example.com/", "slug": slug}
        assert api.post(LINKS, json=link).status_code == 201


@contextmanager
def nothing_lost(stack: Stack, api: httpx.Client, *, held: int = 0) -> Iterator[None]:
    """Load the stack during the block. Then each request was answered, and counted or done once.

    At most `held` requests were held by a process that was killed. They heard 502, and may have
    been counted or done.
    """

    def build(client: httpx.AsyncClient, number: int) -> httpx.Request:
        if number % POST_EVERY == 0:
            return client.build_request("POST", LINKS, headers=api.headers, json={"url": MADE})
        return client.build_request("GET", f"/{SLUGS[number % len(SLUGS)]}")

    before, links = clicks(api), links_made(stack)
    with under_load(stack.url, build, rate=RATE, seconds=SECONDS) as outcome:
        yield
    outcome.check(held=held)
    slugs = {link["slug"] for link in outcome.made}
    assert len(slugs) == len(outcome.made)
    assert 0 <= links_made(stack) - links - len(slugs) <= held
    redirects = outcome.statuses[302]
    until(lambda: clicks(api) - before >= redirects, every=0.5)
    assert 0 <= clicks(api) - before - redirects <= held
    stack.until_healthy("app")


def links_made(stack: Stack) -> int:
    query = f"SELECT count(*) FROM links WHERE url = '{MADE}'"
    return int(stack.run_in("db", "psql", "-At", "-U", "drydock", "-c", query))


def clicks(api: httpx.Client) -> int:
    return sum(api.get(f"{LINKS}/{slug}/clicks").json()["total"] for slug in SLUGS)


@pytest.mark.long
class TestDeploy:
    def test_a_new_version(self, stack: Stack, api: httpx.Client) -> None:
        with nothing_lost(stack, api):
            stack.script("release", TWO)
        assert stack.versions() == {"sha-of-two"}


class TestCrashes:
    @pytest.mark.long
    def test_a_killed_worker_process(self, stack: Stack, api: httpx.Client) -> None:
        with nothing_lost(stack, api, held=CONNECTIONS):
            signal_worker(stack.container("app"), "KILL")

    def test_what_a_killed_process_held(self, stack: Stack, api: httpx.Client) -> None:
        # Postgres commits some of the requests that wait for it while their process is killed.
        app, database = stack.container("app"), stack.container("db")
        with nothing_lost(stack, api, held=KILLS * CONNECTIONS):
            for _ in range(KILLS):
                database.pause()
                try:
                    time.sleep(0.4)  # requests arrive, and wait for the database
                    signal_worker(app, "KILL")
                finally:
                    database.unpause()
                until(partial(is_ready, app))
