"""The last hour's requests and how long they took, by the minute, from the service's own metrics.

Every process reads its histograms now and then and keeps what they grew by. Through Redis each
tells the others, so that one page speaks for all of them; without Redis it speaks for its own.
This is for a glance. Whoever needs more points Prometheus at the same metrics.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self
from uuid import uuid4

import structlog
from prometheus_client.samples import Sample
from redis.asyncio import Redis

from app.infra.redis import RedisGate, RedisUnavailable
from app.infra.telemetry import DURATION_BUCKETS, Metrics

log = structlog.get_logger(__name__)

SAMPLE_EVERY = 15.0  # seconds: a share of the minute, and 1 ms of work
MINUTES = 60
KEEP = 2 * 3600  # seconds that Redis keeps a minute
FRESH = 2.0  # seconds that what was read serves further pages

KEY = "drydock:traffic:"
BOUNDS = (*DURATION_BUCKETS, math.inf)
# Probes and this page ask by themselves, all the time: they would be the picture.
UNCOUNTED = ("/health", "/static/", "/page/live")
HOME = "/"

Counts = tuple[int, ...]  # requests by bucket, not cumulative
NOTHING: Counts = (0,) * len(BOUNDS)


@dataclass(frozen=True, slots=True)
class Hour:
    """Sixty minutes, the running one last. `shared`: of all processes, not of this one alone."""

    minutes: Sequence[Counts]
    shared: bool

    @property
    def requests(self) -> list[int]:
        return [sum(counts) for counts in self.minutes]

    @property
    def total(self) -> int:
        return sum(self.requests)

    @property
    def slow(self) -> list[float | None]:
        """The 95th percentile of each minute, in seconds."""
        return [percentile(counts, 0.95) for counts in self.minutes]

    @property
    def overall_slow(self) -> float | None:
        return percentile(_sum(self.minutes), 0.95)


class Traffic:
    """What this process counted, and what all of them did."""

    def __init__(
        self,
        metrics: Metrics,
        redis: Redis,
        gate: RedisGate,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._metrics = metrics
        self._redis = redis
        self._gate = gate
        self._clock = clock
        self._process = uuid4().hex[:12]
        self._seen = NOTHING
        self._own: dict[int, Counts] = {}
        self._unshared: set[int] = set()
        self._read: tuple[float, Hour] | None = None

    @classmethod
    @asynccontextmanager
    async def opened(cls, metrics: Metrics, redis: Redis, gate: RedisGate) -> AsyncIterator[Self]:
        """Sampling inside the block."""
        traffic = cls(metrics, redis, gate)
        sampling = asyncio.create_task(traffic._keep_sampling())
        try:
            yield traffic
        finally:
            sampling.cancel()
            await asyncio.gather(sampling, return_exceptions=True)

    async def _keep_sampling(self) -> None:
        while True:
            await asyncio.sleep(SAMPLE_EVERY)
            try:
                self.sample()
                await self.share()
            except Exception:  # the next sample catches up; a chart is no reason to stop
                log.exception("traffic_not_sampled")

    def sample(self) -> None:
        """Add what the histograms grew by to the running minute."""
        now = self._minute()
        seen = read_histograms(self._metrics)
        grown = tuple(new - old for new, old in zip(seen, self._seen, strict=True))
        self._seen = seen
        if any(grown):
            self._own[now] = _sum([self._own.get(now, NOTHING), grown])
            self._unshared.add(now)
        for minute in [minute for minute in self._own if minute <= now - MINUTES]:
            del self._own[minute]
            self._unshared.discard(minute)

    async def share(self) -> bool:
        """Tell Redis this process's minutes that have changed. False if it did not take them.

        Each is written whole, under this process's name: writing it twice does no harm.
        """
        if not self._unshared:
            return True
        told = {minute: self._own[minute] for minute in self._unshared}
        pipeline = self._redis.pipeline(transaction=False)
        for minute, counts in told.items():
            pipeline.hset(f"{KEY}{minute}", self._process, ",".join(map(str, counts)))
            pipeline.expire(f"{KEY}{minute}", KEEP)
        try:
            await self._gate.run(pipeline.execute())
        except RedisUnavailable:
            return False  # they stay here, and are told with the next ones
        self._unshared.clear()
        return True

    async def last_hour(self) -> Hour:
        """The hour up to now. What was read a moment ago serves again."""
        now = self._clock()
        if self._read is None or now - self._read[0] >= FRESH:
            self._read = (now, await self._ask())
        return self._read[1]

    async def _ask(self) -> Hour:
        self.sample()
        minutes = range(self._minute() - MINUTES + 1, self._minute() + 1)
        if await self.share():
            pipeline = self._redis.pipeline(transaction=False)
            for minute in minutes:
                pipeline.hvals(f"{KEY}{minute}")
            try:
                found = await self._gate.run(pipeline.execute())
            except RedisUnavailable:
                pass  # this process's own, then
            else:
                return Hour([_sum(map(_parse, values)) for values in found], shared=True)
        return Hour([self._own.get(minute, NOTHING) for minute in minutes], shared=False)

    def _minute(self) -> int:
        return int(self._clock() // 60)


def read_histograms(metrics: Metrics) -> Counts:
    """How many requests there ever were, by bucket."""
    below = dict.fromkeys(BOUNDS, 0.0)
    for family in metrics.registry.collect():
        if family.name in metrics.durations:
            for sample in family.samples:
                if sample.name.endswith("_bucket") and _counts(sample):
                    below[float(sample.labels["le"])] += sample.value
    cumulative = [0, *(int(below[bound]) for bound in BOUNDS)]
    return tuple(high - low for low, high in pairwise(cumulative))


def _counts(sample: Sample) -> bool:
    route = sample.labels.get("http_route", "")
    return route != HOME and not route.startswith(UNCOUNTED)


def percentile(counts: Counts, share: float) -> float | None:
    """Interpolated inside its bucket, as Prometheus does (histogram_quantile); None of nothing."""
    wanted = sum(counts) * share
    if not wanted:
        return None
    below = 0
    lower = 0.0
    for upper, count in zip(BOUNDS, counts, strict=True):
        if count and below + count >= wanted:
            # What is above the last bound is only known to be that.
            width = 0.0 if upper == math.inf else upper - lower
            return lower + width * (wanted - below) / count
        below += count
        lower = upper
    return lower


def _parse(value: Any) -> Counts:
    """One process's minute. Of another version, with other buckets, it counts as nothing."""
    counts = tuple(map(int, value.decode().split(",")))
    return counts if len(counts) == len(BOUNDS) else NOTHING


def _sum(many: Iterable[Counts]) -> Counts:
    return tuple(map(sum, zip(NOTHING, *many, strict=True)))
