"""Rate limits: counted in each process, and exchanged between all processes through Redis.

A request is counted in memory, so it waits neither for Redis nor for its disk. Four times a second
each process adds its counts to Redis and reads the sums of all. So all processes together may let
a caller exceed its limit by what they receive in a quarter of a second. Without Redis, each process
counts alone.

The algorithm is the sliding window counter: the count of this window, plus that of the window
before, weighted by how much of it the sliding window still covers.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal, NamedTuple

from redis.asyncio import Redis

from app.config import Settings
from app.errors import RateLimited
from app.infra.cancelling import cancel_all
from app.infra.redis import CircuitBreaker, RedisUnavailable

Kind = Literal["read", "write", "login", "miss"]

SHARE_EVERY = 0.25  # seconds
MOST_AT_ONCE = 500  # callers in one exchange, which REDIS_TIMEOUT limits
MOST_CALLERS = 50_000  # that a process remembers, in about 15 MB; then it forgets the oldest
UNITS = {"second": 1, "minute": 60, "hour": 3600}


class Rate(NamedTuple):
    """`amount` requests in each `window` of seconds."""

    amount: int
    window: int

    @classmethod
    def parse(cls, text: str) -> "Rate":
        """Read a setting such as 300/minute."""
        amount, _, unit = text.partition("/")
        return cls(int(amount), UNITS[unit])


class Counted(NamedTuple):
    """Who is counted for what."""

    kind: Kind
    caller: str


class News(NamedTuple):
    """What a process has counted of a caller, in the window with this number."""

    who: Counted
    number: int
    hits: int


@dataclass(slots=True)
class Window:
    """The requests of one caller: in the window with this number, and in the one before."""

    number: int
    shared: int = 0  # of all processes, as of the last exchange
    own: int = 0  # of this process since then
    before: int = 0

    def move_to(self, number: int) -> None:
        if number != self.number:
            self.before = self.shared + self.own if number == self.number + 1 else 0
            self.number, self.shared, self.own = number, 0, 0


class RateLimiter:
    """Counts the requests of each caller."""

    def __init__(
        self,
        settings: Settings,
        redis: Redis,
        breaker: CircuitBreaker,
        *,
        on_refusal: Callable[[Kind], None] = lambda _kind: None,
    ) -> None:
        self._redis = redis
        self._on_refusal = on_refusal
        self._breaker = breaker
        self._rates: dict[Kind, Rate] = {
            "read": Rate.parse(settings.rate_limit_read),
            "write": Rate.parse(settings.rate_limit_write),
            "login": Rate.parse(settings.rate_limit_login),
            "miss": Rate.parse(settings.rate_limit_miss),
        }
        self._windows: dict[Counted, Window] = {}
        self._news: set[Counted] = set()  # whose counts Redis does not have yet

    def hit(self, kind: Kind, caller: str) -> None:
        """Count one request of `caller`. Raises `RateLimited` with the time until one is free."""
        who = Counted(kind, caller)
        self._admit(who).own += 1
        self._news.add(who)

    def give_back(self, kind: Kind, caller: str) -> None:
        """Take back a `hit` that has turned out not to count."""
        who = Counted(kind, caller)
        window = self._windows.get(who)
        if window is not None:
            window.own -= 1
            self._news.add(who)

    def check(self, kind: Kind, caller: str) -> None:
        """Raise `RateLimited` if one more request would exceed the limit. Counts nothing."""
        self._admit(Counted(kind, caller))

    def _admit(self, who: Counted) -> Window:
        rate = self._rates[who.kind]
        number, passed = divmod(time.time(), rate.window)
        window = self._windows.get(who)
        if window is None:
            window = self._remember(who, int(number))
        window.move_to(int(number))
        left = 1 - passed / rate.window
        if window.before * left + window.shared + window.own + 1 > rate.amount:
            self._on_refusal(who.kind)
            seconds = _seconds_until_free(rate, window, left)
            raise RateLimited(
                f"More than {rate.amount} in {rate.window} s. Try again in {seconds} s.",
                headers={"Retry-After": str(seconds)},
            )
        return window

    def _remember(self, who: Counted, number: int) -> Window:
        while len(self._windows) >= MOST_CALLERS:
            del self._windows[next(iter(self._windows))]
        window = self._windows[who] = Window(number)
        return window

    async def share(self) -> None:
        """Exchange counts with the other processes. If Redis fails, count alone until it works."""
        news = [
            News(who, window.number, window.own)
            for who in self._news
            if (window := self._windows.get(who)) is not None and window.own
        ]
        self._news.clear()
        for start in range(0, len(news), MOST_AT_ONCE):
            some = news[start : start + MOST_AT_ONCE]
            try:
                sums = await self._breaker.run(self._exchange(some))
            except RedisUnavailable:
                return
            for new, (shared, before) in zip(some, sums, strict=True):
                window = self._windows.get(new.who)
                if window is not None and window.number == new.number:
                    window.own -= new.hits
                    window.shared, window.before = shared, before

    async def _exchange(self, news: Sequence[News]) -> list[tuple[int, int]]:
        """The counts of this window and of the one before, for each of the callers."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            for (kind, caller), number, hits in news:
                name = f"limit:{kind}:{caller}"
                pipeline.incrby(f"{name}:{number}", hits)
                pipeline.expire(f"{name}:{number}", 2 * self._rates[kind].window)
                pipeline.get(f"{name}:{number - 1}")
            answers = await pipeline.execute()
        return [(int(a), int(b or 0)) for a, b in zip(answers[::3], answers[2::3], strict=True)]

    @asynccontextmanager
    async def sharing(self) -> AsyncIterator[None]:
        """Exchange counts in the background, as long as the block runs."""
        task = asyncio.create_task(self._share_for_ever())
        try:
            yield
        finally:
            await cancel_all([task])

    async def _share_for_ever(self) -> None:
        while True:
            await asyncio.sleep(SHARE_EVERY)
            await self.share()


def _seconds_until_free(rate: Rate, window: Window, left: float) -> int:
    """How long until one more request fits, if no other comes. At least a second."""
    count, room = window.shared + window.own, rate.amount - 1
    if count <= room and window.before:
        wait = left - (room - count) / window.before
    else:
        wait = left + (1 - room / count if count > room else 0)
    return max(1, math.ceil(wait * rate.window))
