"""The last hour by the minute: counted from the metrics, shared by processes, kept small."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from prometheus_client import generate_latest
from redis.asyncio import Redis

from app.config import Settings
from app.infra.lifespan import Resources
from app.infra.redis import RedisGate, make_redis
from app.infra.telemetry import Metrics
from app.infra.traffic import (
    BOUNDS,
    KEEP,
    KEY,
    MINUTES,
    NOTHING,
    Counts,
    Hour,
    Traffic,
    percentile,
    read_histograms,
)
from tests.live import Live
from tests.logs import captured_logs, named
from tests.programs import eventually
from tests.sockets import unused_port, with_redis_at

NOW = 29_000_000 * 60.0  # the start of a minute


@dataclass
class Clock:
    now: float = NOW

    def __call__(self) -> float:
        return self.now


class Process:
    """One process of the service: its metrics, and what it makes of them."""

    def __init__(self, settings: Settings, redis: Redis, clock: Clock) -> None:
        metrics = Metrics(settings)
        self.gate = RedisGate(2.0)
        self.answered = metrics.hot_histogram("berthed_seconds", "A hot path.")
        self.traffic = Traffic(metrics, redis, self.gate, clock=clock)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def process(settings: Settings, resources: Resources, clock: Clock) -> Process:
    return Process(settings, resources.redis, clock)


def at(seconds: float, requests: int) -> Counts:
    """So many requests that took so long."""
    index = next(index for index, bound in enumerate(BOUNDS) if seconds <= bound)
    return (*NOTHING[:index], requests, *NOTHING[index + 1 :])


class TestCounting:
    """Each request is counted once, in the minute in which it was seen."""

    async def test_what_the_histograms_grew_by(self, process: Process, clock: Clock) -> None:
        for _ in range(3):
            process.answered.observe(0.02)
        first = await process.traffic.last_hour()
        clock.now += 60
        process.answered.observe(0.3)
        second = await process.traffic.last_hour()
        assert first.minutes[-1] == at(0.02, 3)
        assert list(second.minutes[-2:]) == [at(0.02, 3), at(0.3, 1)]
        assert (second.total, second.requests[:58]) == (4, [0] * 58)

    async def test_what_was_read_serves_for_a_moment(self, process: Process, clock: Clock) -> None:
        before = await process.traffic.last_hour()
        process.answered.observe(1)
        clock.now += 1.9
        assert await process.traffic.last_hour() is before
        clock.now += 0.1
        assert (await process.traffic.last_hour()).total == 1

    async def test_requests_count_and_probes_and_this_page_do_not(self, live: Live) -> None:
        metrics = live.resources.metrics
        for path in ("/", "/page/live", "/static/page.css", "/health", "/health/live"):
            await live.client.get(path)
        assert sum(read_histograms(metrics)) == 0
        for path in ("/docs", "/openapi.json", "/api/v1/tokens", "/nothing/here"):
            await live.client.get(path)
        assert sum(read_histograms(metrics)) == 4

    async def test_fastapis_buckets_are_ours(self, live: Live) -> None:
        await live.client.get("/docs")
        text = generate_latest(live.resources.metrics.registry).decode()
        lines = [line for line in text.splitlines() if "_duration_seconds_bucket" in line]
        assert {float(re.findall(r'le="([^"]+)"', line)[0]) for line in lines} == set(BOUNDS)

    async def test_it_is_what_prometheus_reads(self, process: Process) -> None:
        process.answered.observe(0.02)
        text = generate_latest(process.traffic._metrics.registry).decode()
        assert 'berthed_seconds_bucket{le="0.025"} 1.0' in text
        assert read_histograms(process.traffic._metrics) == at(0.02, 1)


class TestMemory:
    """A process keeps an hour, and Redis two, however long they run."""

    async def test_of_a_day(self, process: Process, clock: Clock) -> None:
        for _ in range(200):
            process.answered.observe(0.02)
            process.traffic.sample()
            clock.now += 60
        process.traffic.sample()
        assert len(process.traffic._own) < MINUTES
        assert process.traffic._unshared <= process.traffic._own.keys()

    async def test_in_redis(self, process: Process, resources: Resources) -> None:
        process.answered.observe(0.02)
        await process.traffic.last_hour()
        (key,) = await resources.redis.keys(f"{KEY}*")
        assert 0 < await resources.redis.ttl(key) <= KEEP

    async def test_an_idle_process_writes_nothing(
        self, process: Process, resources: Resources
    ) -> None:
        process.traffic.sample()
        assert await process.traffic.share()
        assert await resources.redis.keys(f"{KEY}*") == []


class TestShared:
    """One page speaks for all processes; without Redis for its own, and says so."""

    async def test_several_processes_add_up(
        self, settings: Settings, resources: Resources, clock: Clock
    ) -> None:
        one, other = (Process(settings, resources.redis, clock) for _ in range(2))
        one.answered.observe(0.02)
        for _ in range(2):
            other.answered.observe(0.3)
        other.traffic.sample()
        await other.traffic.share()
        hour = await one.traffic.last_hour()
        assert hour.shared
        assert hour.minutes[-1] == tuple(map(sum, zip(at(0.02, 1), at(0.3, 2), strict=True)))

    async def test_telling_twice_changes_nothing(self, process: Process, clock: Clock) -> None:
        process.answered.observe(0.02)
        await process.traffic.last_hour()
        process.traffic._unshared.add(int(clock.now // 60))
        assert await process.traffic.share()
        clock.now += 3
        assert (await process.traffic.last_hour()).total == 1

    async def test_another_versions_buckets_are_left_out(
        self, process: Process, resources: Resources, clock: Clock
    ) -> None:
        await resources.redis.hset(f"{KEY}{int(clock.now // 60)}", "older", "1,2,3")
        process.answered.observe(0.02)
        assert (await process.traffic.last_hour()).total == 1

    async def test_without_redis_it_is_this_process_alone(
        self, settings: Settings, clock: Clock
    ) -> None:
        async with client_of(with_redis_at(settings, unused_port())) as redis:
            process = Process(settings, redis, clock)
            process.answered.observe(0.02)
            hour = await process.traffic.last_hour()
            clock.now += 2
            idle = await process.traffic.last_hour()
        assert (hour.shared, hour.total) == (False, 1)
        assert (idle.shared, idle.total) == (False, 1)

    async def test_an_idle_process_notices_too(self, settings: Settings, clock: Clock) -> None:
        async with client_of(with_redis_at(settings, unused_port())) as redis:
            hour = await Process(settings, redis, clock).traffic.last_hour()
        assert (hour.shared, hour.total) == (False, 0)

    async def test_what_redis_missed_is_told_later(
        self, settings: Settings, resources: Resources, process: Process, clock: Clock
    ) -> None:
        async with client_of(with_redis_at(settings, unused_port())) as away:
            process.traffic._redis = away
            process.answered.observe(0.02)
            process.traffic.sample()
            assert not await process.traffic.share()
        process.traffic._redis = resources.redis
        process.gate._closed_until = 0.0
        assert await process.traffic.share()
        other = Process(settings, resources.redis, clock)
        assert (await other.traffic.last_hour()).total == 1


class TestSampling:
    """It happens by itself while the service runs, and ends with it."""

    async def test_it(
        self, settings: Settings, resources: Resources, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.infra.traffic.SAMPLE_EVERY", 0.01)
        metrics = Metrics(settings)
        before = asyncio.all_tasks()
        async with Traffic.opened(metrics, resources.redis, resources.gate):
            metrics.hot_histogram("berthed_seconds", "A hot path.").observe(0.02)
            await eventually("told", lambda: told(resources.redis), seconds=10)
        assert asyncio.all_tasks() == before

    async def test_a_sample_that_fails_is_told_and_not_the_last(
        self, settings: Settings, resources: Resources, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.infra.traffic.SAMPLE_EVERY", 0.01)
        metrics = Metrics(settings)
        failing = asyncio.Event()

        def fail(*_arguments: object) -> None:
            failing.set()
            raise LookupError("no such berth")

        with captured_logs() as events:
            async with Traffic.opened(metrics, resources.redis, resources.gate):
                with monkeypatch.context() as patch:
                    patch.setattr("app.infra.traffic.read_histograms", fail)
                    await asyncio.wait_for(failing.wait(), 10)
                metrics.hot_histogram("berthed_seconds", "A hot path.").observe(0.02)
                await eventually("told", lambda: told(resources.redis), seconds=10)
        assert named(events, "traffic_not_sampled")


class TestPercentile:
    """The percentile lies in the bucket where Prometheus's own function puts it."""

    @pytest.mark.parametrize(
        ("counts", "expected"),
        [
            (NOTHING, None),
            (at(0.004, 100), 0.005 * 0.95),
            (at(0.06, 1), 0.05 + 0.025 * 0.95),
            (at(60, 5), BOUNDS[-2]),
            (tuple(map(sum, zip(at(0.004, 96), at(2, 4), strict=True))), 0.005 * 95 / 96),
        ],
    )
    def test_it(self, counts: Counts, expected: float | None) -> None:
        found = percentile(counts, 0.95)
        assert found == (None if expected is None else pytest.approx(expected))

    def test_of_an_hour_it_weighs_minutes_by_their_requests(self) -> None:
        hour = Hour([at(0.004, 99), at(2, 1)], shared=True)
        assert hour.slow == [pytest.approx(0.005 * 0.95), pytest.approx(1.0 + 1.5 * 0.95)]
        assert hour.overall_slow is not None
        assert hour.overall_slow < 0.005


async def told(redis: Redis) -> bool:
    return bool(await redis.keys(f"{KEY}*"))


@asynccontextmanager
async def client_of(settings: Settings) -> AsyncIterator[Redis]:
    redis = make_redis(settings)
    yield redis
    await redis.aclose()
