"""What the worker does: import files, count clicks, resume lost imports, purge old rows."""

import asyncio
import itertools
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from uuid import UUID

import structlog
from sqlalchemy import and_, func, or_, select

from app.features.links import clicks, imports, lifecycle
from app.features.links.csvfile import CsvReader, CsvRow
from app.features.links.invalidation import invalidate
from app.features.links.models import ENDED, ClickCount, Import, Link, RowError
from app.features.links.runtime import runtime_of
from app.features.links.settings import LinksSettings
from app.infra.db import reading, transaction
from app.infra.lifespan import Resources
from app.infra.purge import delete_in_batches
from app.infra.queue import Enqueuer, JobContext

log = structlog.get_logger(__name__)

# Rows in one transaction, which takes 20 to 40 ms: locks are short. A piece of long rows has fewer.
BATCH = 1000
LOOK_FOR_CLICKS = 0.5  # seconds between reads of a stream that has no new entries
TRIM_EVERY = 10.0  # seconds

RESUME_EVERY = 5.0  # seconds

KEEP_EXPIRED = timedelta(days=30)  # an expired link answers 410 this long, then 404
KEEP_IMPORTS = timedelta(days=30)


async def enqueue_import(enqueuer: Enqueuer, import_id: UUID) -> None:
    """Have the worker import it, unless its job waits already. Call this after the commit."""
    await enqueuer.enqueue_once(f"import:{import_id}", run_import, import_id=str(import_id))


async def run_import(context: JobContext, *, import_id: str) -> None:
    """Import the rest of a file. It may run twice, even at the same time."""
    resources: Resources = context["resources"]
    job_id = UUID(import_id)
    async with transaction(resources.sessions) as session:
        start = await lifecycle.begin_attempt(session, import_id=job_id)
    if start is not None and await _import_all(resources, job_id, start):
        log.info("import_finished", import_id=import_id)
    else:
        log.info("import_is_done_elsewhere", import_id=import_id)


async def _import_all(resources: Resources, job_id: UUID, start: int) -> bool:
    """Import the rows from line `start` on. Returns False if another worker has, or it failed."""
    reader = CsvReader()
    for number in itertools.count():
        async with reading(resources.sessions) as session:
            piece = await lifecycle.load_piece(session, import_id=job_id, number=number)
        if piece is None and number == 0:
            return False
        rows = reader.rows(piece or b"", last=piece is None)
        for batch in _batches(row for row in rows if row.number >= start):
            if not await _run_batch(resources, job_id, batch):
                return False
        if piece is None:
            break
    async with transaction(resources.sessions) as session:
        return await lifecycle.finish(session, import_id=job_id)


def _batches(rows: Iterator[CsvRow]) -> Iterator[list[CsvRow]]:
    while batch := list(itertools.islice(rows, BATCH)):
        yield batch


async def _run_batch(resources: Resources, job_id: UUID, rows: list[CsvRow]) -> bool:
    """Import the rows. Returns False if another worker has imported them, or the import failed."""
    async with transaction(resources.sessions) as session:
        made = await imports.apply_batch(session, import_id=job_id, rows=rows)
        cache = runtime_of(resources).cache
        # An entry may say that they do not exist.
        await invalidate(session, resources.breaker, cache, slugs=made or [])
    return made is not None


async def roll_up_clicks(resources: Resources) -> None:
    """Count the clicks in the stream. Runs until the worker stops."""
    loop = asyncio.get_running_loop()
    trim_at = loop.time()
    lag = runtime_of(resources).lag
    while True:
        async with transaction(resources.sessions) as session:
            counted = await clicks.roll_up(session, resources.redis)
        if loop.time() >= trim_at:
            async with transaction(resources.sessions) as session:
                await clicks.trim(session, resources.redis)
            trim_at = loop.time() + TRIM_EVERY
        if counted < clicks.ENTRIES:
            lag.caught_up()
            await asyncio.sleep(LOOK_FOR_CLICKS)


async def resume_imports(resources: Resources) -> None:
    """Enqueue imports that have lost their job, or failed. Runs until the worker stops."""
    while True:
        async with transaction(resources.sessions) as session:
            stalled = await lifecycle.take_stalled(session)
            given_up = await lifecycle.give_up(session)
        for import_id, attempts in stalled:
            log.info("import_resumed", import_id=str(import_id), attempts=attempts)
            await enqueue_import(resources.enqueuer, import_id)
        for import_id in given_up:
            log.error("import_failed", import_id=str(import_id))
        await asyncio.sleep(RESUME_EVERY)


async def purge(context: JobContext) -> None:
    """Delete links that expired long ago with their clicks, old hours, and old imports."""
    resources: Resources = context["resources"]
    delete = partial(delete_in_batches, resources.sessions)
    expired = Link.expires_at < func.now() - KEEP_EXPIRED
    ended = and_(Import.status.in_(ENDED), Import.created_at < func.now() - KEEP_IMPORTS)
    old = or_(ended, lifecycle.abandoned())
    # First what refers to them: a link may have thousands of counts, an import as many errors.
    await delete(ClickCount, ClickCount.link_id.in_(select(Link.id).where(expired)))
    links = await delete(Link, expired)
    days = timedelta(days=resources.settings.of(LinksSettings).click_history_days)
    hours = await delete(ClickCount, ClickCount.hour < func.now() - days)
    await delete(RowError, RowError.import_id.in_(select(Import.id).where(old)))
    files = await delete(Import, old)
    log.info("purged", links=links, hours=hours, imports=files)
