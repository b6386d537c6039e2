"""Follow a slug through Redis: requests that wait at the same moment share one round trip."""

import asyncio
import itertools
from dataclasses import dataclass
from typing import TypeAlias
from uuid import uuid4

from app.features.links.cache import LinkCache
from app.infra.redis import RedisGate, RedisUnavailable

LARGEST_BATCH = 256  # slugs in a script's run; Redis serves nobody else meanwhile


@dataclass(frozen=True, slots=True)
class Unfollowed:
    """Redis gave no answer. `batch` names the append that may have happened all the same."""

    batch: str | None


# What stands in the cache (None: nothing), or that nobody knows.
Followed: TypeAlias = bytes | Unfollowed | None


@dataclass(slots=True)
class _Waiting:
    slug: str
    clicks: int
    answer: "asyncio.Future[Followed]"


class Follower:
    """At most one batch is under way; what arrives meanwhile forms the next.

    One request alone is not delayed by this, and under load a round trip, its encoding and the
    disk's flush are shared by all that wait.
    """

    def __init__(self, cache: LinkCache, gate: RedisGate) -> None:
        self._cache = cache
        self._gate = gate
        self._waiting: list[_Waiting] = []
        self._sender: asyncio.Task[None] | None = None
        self._process = uuid4().hex
        self._numbers = itertools.count()

    async def follow(self, slug: str, clicks: int) -> Followed:
        """The slug's cache entry. If it is live, `clicks` were counted for it. Never raises."""
        waiting = _Waiting(slug, clicks, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._sender is None:
            self._sender = asyncio.create_task(self._send_all())
        return await waiting.answer

    async def close(self) -> None:
        """Wait for the batch under way."""
        if self._sender is not None:
            await self._sender

    async def _send_all(self) -> None:
        try:
            while self._waiting:
                batch = self._waiting[:LARGEST_BATCH]
                del self._waiting[:LARGEST_BATCH]
                await self._send(batch)
        finally:
            self._sender = None

    async def _send(self, batch: list[_Waiting]) -> None:
        clicks: dict[str, int] = {}
        for waiting in batch:
            clicks[waiting.slug] = clicks.get(waiting.slug, 0) + waiting.clicks
        name = f"{self._process}-{next(self._numbers)}"
        answers: dict[str, Followed]
        try:
            entries = await self._gate.run(self._cache.follow(name, clicks))
            answers = dict(zip(clicks, entries, strict=True))
        except RedisUnavailable as error:
            answers = dict.fromkeys(clicks, Unfollowed(name if error.applied is None else None))
        except BaseException:
            for waiting in batch:
                waiting.answer.cancel()
            raise
        for waiting in batch:
            if not waiting.answer.done():
                waiting.answer.set_result(answers[waiting.slug])
