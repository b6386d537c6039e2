"""What the worker does: import files, count clicks, resume lost imports, purge old rows."""

import asyncio
import itertools
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from uuid import UUID

import structlog
from sqlalchemy import and_, func, select, update

from app.features.links import clicks, imports
from app.features.links.cache import NewLink
from app.features.links.csvfile import CsvRow, read_rows
from app.features.links.models import ClickCount, Import, ImportStatus, Link, RowError
from app.features.links.runtime import runtime_of
from app.features.links.service import next_cache_version
from app.features.links.settings import LinksSettings
from app.infra.db import transaction
from app.infra.lifespan import Resources
from app.infra.purge import delete_in_batches
from app.infra.queue import JobContext
from app.infra.redis import RedisUnavailable

log = structlog.get_logger(__name__)

BATCH = 1000  # rows in one transaction, which takes 20 to 40 ms: locks are short
LOOK_FOR_CLICKS = 0.5  # seconds between reads of a stream that has no new entries
TRIM_EVERY = 10.0  # seconds

RESUME_EVERY = 5.0  # seconds
# An import without progress for this long has lost its job: Redis was down, or the worker died.
STALLED_AFTER = timedelta(seconds=15)

KEEP_EXPIRED = timedelta(days=30)  # an expired link answers 410 this long, then 404
KEEP_IMPORTS = timedelta(days=30)


async def run_import(context: JobContext, *, import_id: str) -> None:
    """Import the rest of a file. It may run twice, even at the same time."""
    resources: Resources = context["resources"]
    job_id = UUID(import_id)
    async with transaction(resources.sessions) as session:
        loaded = await imports.load_source(session, import_id=job_id)
    if loaded is None:
        return
    source, start = loaded
    batches = _batches(read_rows(source, start=start))
    rows = next(batches, [])
    while True:
        following = next(batches, None)
        if not await _run_batch(resources, job_id, rows, last=following is None):
            log.info("import_is_done_elsewhere", import_id=import_id)
            return
        if following is None:
            break
        rows = following
    log.info("import_finished", import_id=import_id)


def _batches(rows: Iterator[CsvRow]) -> Iterator[list[CsvRow]]:
    while batch := list(itertools.islice(rows, BATCH)):
        yield batch


async def _run_batch(resources: Resources, job_id: UUID, rows: list[CsvRow], *, last: bool) -> bool:
    """Import the rows. Returns False if another worker has imported them."""
    async with transaction(resources.sessions) as session:
        made = await imports.apply_batch(session, import_id=job_id, rows=rows, last=last)
        version = await next_cache_version(session)
    if made is None:
        return False
    await _write_through(resources, made, version)
    return True


async def _write_through(resources: Resources, links: list[NewLink], version: int) -> None:
    """Write the new links to the cache, where an entry may say that they do not exist.

    The entry of a link that was changed since has a higher version, and stays.
    """
    if not links:
        return
    cache = runtime_of(resources).cache
    try:
        await resources.breaker.run(cache.put_all(links, version), always=True)
    except RedisUnavailable as error:
        log.warning("cache_write_failed", links=len(links), reason=str(error))


async def roll_up_clicks(resources: Resources) -> None:
    """Count the clicks in the stream. Runs until the worker stops."""
    loop = asyncio.get_running_loop()
    trim_at = loop.time()
    while True:
        async with transaction(resources.sessions) as session:
            counted = await clicks.roll_up(session, resources.redis)
        if loop.time() >= trim_at:
            async with transaction(resources.sessions) as session:
                await clicks.trim(session, resources.redis)
            trim_at = loop.time() + TRIM_EVERY
        if counted < clicks.ENTRIES:
            await asyncio.sleep(LOOK_FOR_CLICKS)


async def resume_imports(resources: Resources) -> None:
    """Enqueue imports that have lost their job. Runs until the worker stops."""
    while True:
        async with transaction(resources.sessions) as session:
            stalled = list(
                await session.scalars(
                    update(Import)
                    .where(
                        Import.status != ImportStatus.FINISHED,
                        Import.updated_at < func.now() - STALLED_AFTER,
                    )
                    .values(updated_at=func.now())
                    .returning(Import.id)
                    .execution_options(synchronize_session=False)
                )
            )
        for import_id in stalled:
            log.info("import_resumed", import_id=str(import_id))
            await resources.enqueuer.enqueue(run_import, import_id=str(import_id))
        await asyncio.sleep(RESUME_EVERY)


async def purge(context: JobContext) -> None:
    """Delete links that expired long ago with their clicks, old hours, and old imports."""
    resources: Resources = context["resources"]
    delete = partial(delete_in_batches, resources.sessions)
    expired = Link.expires_at < func.now() - KEEP_EXPIRED
    old = and_(
        Import.status == ImportStatus.FINISHED, Import.created_at < func.now() - KEEP_IMPORTS
    )
    # First what refers to them: a link may have thousands of counts, an import as many errors.
    await delete(ClickCount, ClickCount.link_id.in_(select(Link.id).where(expired)))
    links = await delete(Link, expired)
    days = timedelta(days=resources.settings.of(LinksSettings).click_history_days)
    hours = await delete(ClickCount, ClickCount.hour < func.now() - days)
    await delete(RowError, RowError.import_id.in_(select(Import.id).where(old)))
    files = await delete(Import, old)
    log.info("purged", links=links, hours=hours, imports=files)
