"""Two thousand requests a second for slugs that do not exist, from one address."""

import asyncio
import json
import logging
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from secrets import token_hex

import httpx
import pytest

from tests.features.links.faults.visitors import Visitors
from tests.live import ROOT
from tests.pace import within
from tests.service import App, Service

log = logging.getLogger(__name__)

RATE = 2000
SECONDS = 5.0
LIMIT = 600  # misses a minute, the default
# Figures of a millisecond vary by themselves.
AT_LEAST = 0.002  # seconds


@contextmanager
def flood(app: App) -> Iterator[dict[str, int]]:
    """The answers, by status, are there after the block."""
    script = "tests.features.links.faults.flood"
    command = [sys.executable, "-m", script, str(app.port), str(RATE)]
    statuses: dict[str, int] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        try:
            yield statuses
        finally:
            process.terminate()
            statuses.update(json.loads(process.stdout.readline()))


async def latencies(app: App, slug: str) -> dict[str, float]:
    """The median of cached redirects and of requests to the API, over some seconds."""
    hits, lists = [], []
    async with app_client(app) as client, Visitors(app.port) as visitors:
        ends = time.monotonic() + SECONDS
        while time.monotonic() < ends:
            answer = await visitors.follow(slug)
            assert answer.status == 302
            hits.append(answer.seconds)
            started = time.monotonic()
            assert (await client.get(f"/api/v1/links/{slug}")).status_code == 200
            lists.append(time.monotonic() - started)
            await asyncio.sleep(0.01)
    return {"a redirect": statistics.median(hits), "the API": statistics.median(lists)}


def app_client(app: App) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=app.url, headers=app.authorization, timeout=20, verify=False)


class TestFlood:
    """Hits and the API take at most twice as long meanwhile. Postgres hears few of the misses."""

    @pytest.mark.timeout(120)
    async def test_hits_and_the_api(self, service: Service) -> None:
        app = service.another_app(RATE_LIMIT_MISS=f"{LIMIT}/minute")
        await asyncio.to_thread(app.wait_until, "/health/ready")
        slug = f"hit-{token_hex(3)}"
        async with app_client(app) as client:
            body = {"url": "https://example.com/", "slug": slug}
            assert (await client.post("/api/v1/links", json=body)).status_code == 201
        await latencies(app, slug)  # all modules are loaded, all connections open
        quiet = await latencies(app, slug)
        with flood(app) as answers, within(2.0) as stopwatch:
            flooded = await latencies(app, slug)
            stopwatch.took = {
                what: seconds / max(quiet[what], AT_LEAST) for what, seconds in flooded.items()
            }
        log.info("before %s, in the flood %s, answers %s", quiet, flooded, answers)
        assert set(answers) == {"404", "429"}
        assert answers["404"] <= 2 * LIMIT  # a minute may end meanwhile
        assert answers["429"] > answers["404"]
