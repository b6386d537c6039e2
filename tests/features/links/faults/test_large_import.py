"""The largest file that an import takes."""

import logging
import time

from tests.features.links.faults.uploads import csv_of, until_finished, upload
from tests.service import Service

ROWS = 100_000
SECONDS = 60.0
MEGABYTES = 250

log = logging.getLogger(__name__)


class TestLargeImport:
    """A hundred thousand rows take less than a minute, and the worker less than 250 MB."""

    async def test_every_row_is_imported(self, service: Service) -> None:
        rows = (
            (f"https://example.com/{n}?q={n % 97}", f"large-{n}" if n % 2 else "", f"Row {n}")
            for n in range(ROWS)
        )
        async with service.client() as client:
            path = await upload(client, csv_of(rows, columns=("url", "slug", "title")))
            started = time.monotonic()
            found = await until_finished(client, path, seconds=SECONDS)
        peak = service.worker.peak_memory()
        log.info("took %.1f s, the worker's peak was %.0f MB", time.monotonic() - started, peak)
        assert (found["done"], found["failed"]) == (ROWS, 0)
        assert peak < MEGABYTES
