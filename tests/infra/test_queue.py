"""The job queue, and the worker's heartbeat."""

import time

import pytest

from app.config import Settings
from app.infra.lifespan import Resources
from app.infra.queue import (
    HEARTBEAT_KEY,
    Enqueuer,
    JobContext,
    heartbeat_age,
    make_queue,
    write_heartbeat,
)
from app.infra.redis import CircuitBreaker, make_redis
from tests.logs import captured_logs, named
from tests.sockets import unused_port, with_redis_at


async def load(_context: JobContext, cargo: str) -> None:
    raise NotImplementedError(cargo)


class TestEnqueue:
    """An enqueued job waits in Redis. Without Redis enqueueing does nothing and never fails."""

    async def test_it_is_there_for_a_worker(self, resources: Resources) -> None:
        await resources.enqueuer.enqueue(load, cargo="tea")
        job = await make_queue(resources.redis).dequeue(timeout=1)
        assert job is not None
        assert (job.function, job.kwargs) == ("load", {"cargo": "tea"})
        assert job.retries > 1  # a worker that dies meanwhile does not end it

    async def test_its_arguments_go_by_name(self, resources: Resources) -> None:
        with pytest.raises(TypeError, match="by name"):
            await resources.enqueuer.enqueue(load, "tea")

    async def test_without_redis_it_fails_nobody(self, settings: Settings) -> None:
        async with make_redis(with_redis_at(settings, unused_port())) as redis:
            enqueuer = Enqueuer(redis, CircuitBreaker(0.5))
            with captured_logs() as events:
                await enqueuer.enqueue(load, cargo="tea")
                await enqueuer.enqueue(load, cargo="tea")
        waiting = named(events, "job_not_enqueued")
        assert [event["reason"] for event in waiting] == [
            "ConnectionError",
            "the circuit breaker is open",
        ]


class TestDequeue:
    """While Redis is down, the worker waits a second between two tries."""

    async def test_a_failure_costs_a_second_and_is_no_exception(self, settings: Settings) -> None:
        async with make_redis(with_redis_at(settings, unused_port())) as redis:
            queue = make_queue(redis)
            started = time.monotonic()
            with captured_logs() as events:
                assert await queue.dequeue(timeout=0.1) is None
        assert time.monotonic() - started >= 1
        assert named(events, "queue_unreachable")


class TestHeartbeat:
    """The heartbeat says how long ago a worker was alive."""

    async def test_none_before_the_first(self, resources: Resources) -> None:
        assert await heartbeat_age(resources.redis) is None

    async def test_it_grows_older(self, resources: Resources) -> None:
        await write_heartbeat(resources.redis)
        fresh = await heartbeat_age(resources.redis)
        assert fresh is not None
        assert fresh < 10
        await resources.redis.set(HEARTBEAT_KEY, repr(time.time() - 30))
        assert await heartbeat_age(resources.redis) == pytest.approx(30, abs=10)

    async def test_clocks_that_disagree_make_none_negative(self, resources: Resources) -> None:
        await resources.redis.set(HEARTBEAT_KEY, repr(time.time() + 30))
        assert await heartbeat_age(resources.redis) == 0
