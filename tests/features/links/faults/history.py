"""One link that changes, and clients that read it. No client may get an old target."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from secrets import token_hex
from typing import NamedTuple

import httpx
from redis.asyncio import Redis

from app.features.links.cache import KEY, NO_LINK
from tests.features.links.faults.visitors import Answer, Visitors
from tests.polling import eventually

READERS = 4
BETWEEN_EXPIRIES = 0.002  # seconds: about as long as a reader takes to fill the cache again

# KEYS: the slug's key. ARGV: how the entry ends that may expire now; a newer one may not.
EXPIRE = """
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, -#ARGV[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""

Outcome = str | int  # where a redirect leads, or the status of another answer


def outcome(answer: Answer) -> Outcome:
    return answer.location or answer.status


class Change(NamedTuple):
    sent: float
    answered: float
    outcome: Outcome


@dataclass
class History:
    """The changes of the link, and the answers that its readers got, each with its time."""

    redis: Redis
    slug: str = field(default_factory=lambda: f"moving-{token_hex(3)}")
    changes: list[Change] = field(default_factory=list)
    heard: list[list[Answer]] = field(default_factory=lambda: [[] for _ in range(READERS)])

    async def change(self, request: Awaitable[httpx.Response], *, says: Outcome) -> None:
        """Send a change, while clients read the link and its cache entry expires all the time."""
        async with self._expiring():
            sent = time.monotonic()
            answer = await request
            assert answer.is_success, answer.text
            self.changes.append(Change(sent, time.monotonic(), says))

    @asynccontextmanager
    async def _expiring(self) -> AsyncIterator[None]:
        """The entry lives no longer than until its reader had the time to use it.

        A reader who finds none reads the row, and may be slow to put that into the cache: this is
        when it would undo a change. Only the old entry expires, since it is the new one's life of
        a minute that keeps such a reader away.
        """
        if not self.changes:
            yield
            return
        now = self.changes[-1].outcome
        end = f"|{now}" if isinstance(now, str) else NO_LINK
        expire = self.redis.register_script(EXPIRE)
        over = asyncio.Event()

        async def repeat() -> None:
            while not over.is_set():
                await expire(keys=[KEY + self.slug], args=[end])
                await asyncio.sleep(BETWEEN_EXPIRIES)

        async with asyncio.TaskGroup() as parallel:
            parallel.create_task(repeat())
            try:
                await self.until_heard_again()
                yield
            finally:
                over.set()

    @asynccontextmanager
    async def heard_by(self, *apps: Visitors) -> AsyncIterator[None]:
        """Connections that follow the link without a pause."""

        async def read(visitors: Visitors, heard: list[Answer]) -> None:
            while True:
                heard.append(await visitors.follow(self.slug))

        readers = [
            asyncio.create_task(read(apps[number % len(apps)], heard))
            for number, heard in enumerate(self.heard)
        ]
        try:
            yield
        finally:
            for reader in readers:
                reader.cancel()
            ended = await asyncio.gather(*readers, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ended), ended

    async def until_heard_again(self) -> None:
        """Return once no reader is left who began to ask before now."""
        lengths = [len(heard) for heard in self.heard]

        async def more() -> bool:
            return all(
                len(heard) >= length + 2 for heard, length in zip(self.heard, lengths, strict=True)
            )

        await eventually("the readers go on", more)

    def lies(self) -> list[tuple[Outcome, set[Outcome]]]:
        """The answers that were wrong at their time, each with those that were right."""
        return [
            (outcome(answer), possible)
            for heard in self.heard
            for answer in heard
            if outcome(answer) not in (possible := self._possible(answer))
        ]

    def _possible(self, answer: Answer) -> set[Outcome]:
        """What was answered last before the request began, and all that was sent until it ended."""
        over = sum(change.answered < answer.started for change in self.changes)
        begun = [change for change in self.changes if change.sent < answer.ended]
        return {change.outcome for change in begun[max(0, over - 1) :]}
