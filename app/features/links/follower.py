"""Looking up slugs and counting their clicks: in Redis, or in Postgres while Redis is down.

An advanced example: see this package's docstring. Concurrent requests share one round trip to
Redis, or one transaction.
"""

import itertools
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias
from uuid import uuid4

from sqlalchemy import select

from app.errors import Overloaded
from app.features.links import clicks as counting
from app.features.links.batching import Batcher
from app.features.links.cache import LinkCache
from app.features.links.models import Link
from app.infra.db import Sessions, transaction
from app.infra.redis import CircuitBreaker, RedisUnavailable

LARGEST_BATCH = 256  # requests in one run of the script, which blocks Redis meanwhile
MOST_WAITING = 4 * LARGEST_BATCH  # a process answers about this many in a second


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Redis did not answer. `batch` names the append that may have happened; None: it did not."""

    batch: str | None


@dataclass(frozen=True, slots=True)
class NotCached:
    """There is no entry. Who reads Postgres now may write one with this lease."""

    lease: str


Followed: TypeAlias = bytes | NoAnswer | NotCached  # bytes: the cache entry


class Follower:
    """Looks slugs up in Redis and appends their clicks."""

    def __init__(self, cache: LinkCache, breaker: CircuitBreaker) -> None:
        self._cache = cache
        self._breaker = breaker
        self._batcher: Batcher[tuple[str, int], Followed] = Batcher(
            self._run, largest=LARGEST_BATCH, most_waiting=MOST_WAITING
        )
        self.close = self._batcher.close
        self._process = uuid4().hex
        self._numbers = itertools.count()

    async def follow(self, slug: str, clicks: int) -> Followed:
        """The slug's cache entry. If the entry is live, `clicks` were counted. Never raises."""
        try:
            return await self._batcher.ask((slug, clicks))
        except Overloaded:
            return NoAnswer(batch=None)

    async def _run(self, asked: list[tuple[str, int]]) -> list[Followed]:
        clicks: dict[str, int] = {}
        for slug, number in asked:
            clicks[slug] = clicks.get(slug, 0) + number
        name = f"{self._process}-{next(self._numbers)}"
        try:
            entries = await self._breaker.run(self._cache.follow(name, clicks))
        except RedisUnavailable as error:
            no_answer = NoAnswer(name if error.applied is None else None)
            return [no_answer] * len(asked)
        found = dict(zip(clicks, entries, strict=True))
        not_cached = NotCached(name)
        return [not_cached if (entry := found[slug]) is None else entry for slug, _ in asked]


@dataclass(frozen=True, slots=True)
class Direct:
    """A redirect without Redis. `batch` is that of `NoAnswer`."""

    slug: str
    clicks: int
    batch: str | None


class DirectFollower:
    """Looks slugs up in Postgres and counts their clicks there, before the answer."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._batcher: Batcher[Direct, Link | None] = Batcher(
            self._run, largest=LARGEST_BATCH, most_waiting=MOST_WAITING
        )
        self.close = self._batcher.close

    async def follow(self, asked: Direct) -> Link | None:
        """The slug's link. Its clicks were counted, unless the link has expired.

        Raises `Overloaded`.
        """
        return await self._batcher.ask(asked)

    async def _run(self, asked: list[Direct]) -> list[Link | None]:
        async with transaction(self._sessions) as session:
            query = select(Link).where(Link.slug.in_({one.slug for one in asked}))
            links = {link.slug: link for link in await session.scalars(query)}
            now = datetime.now(UTC)
            sure: counting.Counts = Counter()
            unsure: counting.Unconfirmed = Counter()
            for one in asked:
                link = links.get(one.slug)
                if link is None or link.has_expired(now) or not one.clicks:
                    continue
                if one.batch is None:
                    sure[link.id, counting.whole_hour(now.timestamp())] += one.clicks
                else:
                    unsure[one.batch, link.id] += one.clicks
            await counting.count_directly(session, sure, unsure)
        return [links.get(one.slug) for one in asked]
