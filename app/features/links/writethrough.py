"""Keeping the cache true: what a transaction did to a slug goes to Redis right after its commit."""

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from app.features.links.cache import LinkCache
from app.features.links.models import Link
from app.features.links.service import next_cache_version
from app.infra.db import after_commit
from app.infra.redis import RedisGate, RedisUnavailable

log = structlog.get_logger(__name__)


async def write_through(
    session: AsyncSession, gate: RedisGate, cache: LinkCache, *, slug: str, link: Link | None
) -> None:
    """Have the commit followed by the new entry, or by a tombstone where `link` is None.

    Call it after the change was flushed. It does not ask the gate: another process may be reading
    the old entry although this one has just seen Redis fail. If the write fails, the old entry
    lives on for at most its time to live.
    """
    version = await next_cache_version(session)

    async def write() -> None:
        try:
            await gate.run(cache.put(slug, link, version), always=True)
        except RedisUnavailable as error:
            log.warning("cache_write_failed", slug=slug, reason=str(error))

    after_commit(session, write)
