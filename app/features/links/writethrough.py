"""Writing changes through to the cache, right after the transaction's commit.

An advanced example: see this package's docstring.
"""

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from app.features.links.cache import LinkCache
from app.features.links.models import Link
from app.features.links.service import next_cache_version
from app.infra.db import after_commit
from app.infra.redis import CircuitBreaker, RedisUnavailable

log = structlog.get_logger(__name__)


async def write_through(
    session: AsyncSession,
    breaker: CircuitBreaker,
    cache: LinkCache,
    *,
    slug: str,
    link: Link | None,
) -> None:
    """After the commit, write the slug's new entry, or a tombstone if `link` is None.

    Call this after the change was flushed. The write is tried even while the circuit breaker is
    open, since other processes may still read the old entry. If it fails, the old entry is served
    for at most CACHE_TTL.
    """
    version = await next_cache_version(session)

    async def write() -> None:
        try:
            await breaker.run(cache.put(slug, link, version), always=True)
        except RedisUnavailable as error:
            log.warning("cache_write_failed", slug=slug, reason=str(error))

    after_commit(session, write)
