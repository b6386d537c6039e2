"""Deleting the cache entries of changed links: right after the commit, and again by the worker.

An advanced example: see this package's docstring. Redis may fail at that moment, or the process may
be killed. So the transaction of the change also stores which slugs it is about (a transactional
outbox). The worker deletes their entries again as soon as it reaches Redis. To delete twice does no
harm.
"""

import asyncio
from collections.abc import Sequence

import structlog
from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.features.links.cache import LinkCache
from app.features.links.models import Invalidation
from app.features.links.runtime import runtime_of
from app.infra.db import after_commit, reading, transaction
from app.infra.lifespan import Resources
from app.infra.redis import CircuitBreaker, RedisUnavailable

log = structlog.get_logger(__name__)

AT_ONCE = 1000  # slugs
LOOK_AGAIN = 0.5  # seconds between looks at an empty outbox


async def invalidate(
    session: AsyncSession, breaker: CircuitBreaker, cache: LinkCache, *, slugs: Sequence[str]
) -> None:
    """Have the entries of these slugs deleted after the transaction's commit.

    It is tried even while the circuit breaker is open, since other processes may read the entries.
    """
    if not slugs:
        return
    await session.execute(insert(Invalidation), [{"slug": slug} for slug in slugs])

    async def forget() -> None:
        try:
            await breaker.run(cache.forget(slugs), always=True)
        except RedisUnavailable as error:
            log.warning("cache_not_invalidated", links=len(slugs), reason=str(error))

    after_commit(session, forget)


async def repeat_invalidations(resources: Resources) -> None:
    """Delete the entries of all slugs in the outbox. Runs until the worker stops."""
    while True:
        done = await repeat_some(resources)
        if done < AT_ONCE:
            await asyncio.sleep(LOOK_AGAIN)


async def repeat_some(resources: Resources) -> int:
    """Delete the entries of the slugs that have waited longest. Returns how many there were.

    Several workers may do this at the same time. Raises what redis-py raises.
    """
    async with reading(resources.sessions) as session:
        query = select(Invalidation.id, Invalidation.slug).order_by(Invalidation.id).limit(AT_ONCE)
        waiting = {row.id: row.slug for row in await session.execute(query)}
    if waiting:
        await runtime_of(resources).cache.forget(list(waiting.values()))
        async with transaction(resources.sessions) as session:
            await session.execute(delete(Invalidation).where(Invalidation.id.in_(list(waiting))))
    return len(waiting)
