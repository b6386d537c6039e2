"""Imports whose worker is killed or told to stop, or whose job is lost."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tests.features.links.faults.uploads import (
    generated,
    read_import,
    until_begun,
    until_finished,
    upload,
    url_of,
)
from tests.service import Service

ROWS = 20_000
SHUTDOWN_LIMIT = 25.0  # seconds
# An import counts as stalled after 15 s and is looked for every 5; the rest is for a slow machine.
RESUMED_SECONDS = 60.0


def links_made(service: Service, name: str) -> tuple[int, int]:
    """How many links the file's rows have become, and to how many addresses."""
    [(links, urls)] = service.query(
        "SELECT count(*), count(DISTINCT url) FROM links WHERE starts_with(url, %(prefix)s)",
        prefix=url_of(name),
    )
    return int(links), int(urls)


@contextmanager
def held_up(service: Service, path: str) -> Iterator[None]:
    """The import comes no further: its worker waits for a lock."""
    with psycopg.connect(service.postgres.url) as connection:
        lock = "SELECT status FROM imports WHERE id = %s FOR UPDATE"
        [status] = connection.execute(lock, [path.rpartition("/")[2]]).fetchone() or [None]
        assert status == "running"
        yield


class TestImportsAreResumed:
    """What a worker leaves behind the next one finishes, and every row becomes one link."""

    @pytest.mark.timeout(180)
    async def test_after_sigkill_sigterm_and_a_lost_job(self, service: Service) -> None:
        async with service.client() as client:
            killed = await upload(client, generated("killed", ROWS))
            await until_begun(client, killed)
            with held_up(service, killed):
                service.worker.kill()

            hasty = service.command("worker", name="hasty", SHUTDOWN_GRACE="1")
            hasty.start()
            stopped = await upload(client, generated("stopped", ROWS))
            await until_begun(client, stopped)
            with held_up(service, stopped):
                hasty.terminate()
                assert await asyncio.to_thread(hasty.wait) == 0

            await asyncio.to_thread(service.redis.stop)
            lost = await upload(client, generated("lost", 100))
            await asyncio.to_thread(service.redis.start)

            for path in (killed, stopped, lost):
                assert (await read_import(client, path))["status"] != "finished"
            service.worker.start()
            for path, rows in ((stopped, ROWS), (killed, ROWS), (lost, 100)):
                found = await until_finished(client, path, seconds=RESUMED_SECONDS)
                assert (found["done"], found["failed"], found["total"]) == (rows, 0, rows)
        assert links_made(service, "killed") == (ROWS, ROWS)
        assert links_made(service, "stopped") == (ROWS, ROWS)
        assert links_made(service, "lost") == (100, 100)


class TestSigterm:
    """A worker that is told to stop finishes the import at hand, takes no other, and exits 0."""

    async def test_during_an_import(self, service: Service) -> None:
        async with service.client() as client:
            path = await upload(client, generated("graceful", ROWS))
            await until_begun(client, path)
            started = time.monotonic()
            service.worker.terminate()
            assert await asyncio.to_thread(service.worker.wait) == 0
            assert time.monotonic() - started < SHUTDOWN_LIMIT
            assert (await read_import(client, path))["status"] == "finished"
        assert links_made(service, "graceful") == (ROWS, ROWS)
