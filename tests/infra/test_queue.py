"""The job queue, and the worker's heartbeat."""

import time
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from saq import Status

from app.config import Settings
from app.infra.lifespan import Resources
from app.infra.queue import (
    HEARTBEAT_KEY,
    Enqueuer,
    JobContext,
    PatientQueue,
    heartbeat_age,
    make_queue,
    write_heartbeat,
)
from app.infra.redis import CircuitBreaker, make_redis
from tests.logs import captured_logs, named
from tests.sockets import unused_port, with_redis_at


async def load(_context: JobContext, cargo: str) -> None:
    raise NotImplementedError(cargo)


@pytest.fixture
async def away(settings: Settings) -> AsyncIterator[Redis]:
    """A client of a Redis that refuses every connection."""
    async with make_redis(with_redis_at(settings, unused_port())) as redis:
        yield redis


async def sweep(queue: PatientQueue) -> list[str]:
    """As the worker does, the moment after another sweep."""
    swept = await queue.sweep(lock=60, abort=0.01)
    await queue.redis.delete(queue.namespace("sweep"))
    return swept


class TestQueue:
    """An enqueued job waits in Redis. While Redis is down, neither side raises an exception."""

    async def test_a_job_reaches_the_worker(self, resources: Resources) -> None:
        await resources.enqueuer.enqueue(load, cargo="tea")
        job = await make_queue(resources.redis).dequeue(timeout=1)
        assert job is not None
        assert (job.function, job.kwargs) == ("load", {"cargo": "tea"})
        assert job.retries > 1  # if its worker dies, another one runs it

    async def test_its_arguments_go_by_name(self, resources: Resources) -> None:
        with pytest.raises(TypeError, match="by name"):
            await resources.enqueuer.enqueue(load, "tea")

    async def test_a_job_that_waits_is_not_enqueued_again(self, resources: Resources) -> None:
        queue = make_queue(resources.redis)
        for _ in range(3):
            await resources.enqueuer.enqueue_once("load:tea", load, cargo="tea")
        assert await queue.count("queued") == 1
        job = await queue.dequeue(timeout=1)
        assert job is not None
        assert job.retries == 1
        # It runs now, or its worker has died meanwhile.
        await job.update(status=Status.ACTIVE)
        await resources.enqueuer.enqueue_once("load:tea", load, cargo="tea")
        assert await queue.count("queued") == 1
        with pytest.raises(TypeError, match="by name"):
            await resources.enqueuer.enqueue_once("load:tea", load, "tea")

    @pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")  # SAQ's
    async def test_a_job_that_was_only_just_taken_is_left_alone(self, resources: Resources) -> None:
        """Between taking a job and marking it as its own, a worker may be seen by a sweep."""
        queue = make_queue(resources.redis)
        await resources.enqueuer.enqueue(load, cargo="tea")
        job = await queue.dequeue(timeout=1)
        assert job is not None
        assert await sweep(queue) == []
        assert await queue.count("queued") == 0
        assert await sweep(queue) == [job.id]  # its worker has died before it marked the job
        assert await queue.count("queued") == 1

    async def test_without_redis_a_job_is_logged_and_dropped(self, away: Redis) -> None:
        with captured_logs() as events:
            await Enqueuer(away, CircuitBreaker(0.5)).enqueue(load, cargo="tea")
        assert named(events, "job_not_enqueued")[0]["reason"] == "ConnectionError"

    async def test_without_redis_the_worker_waits_between_two_tries(self, away: Redis) -> None:
        started = time.monotonic()
        with captured_logs() as events:
            assert await make_queue(away).dequeue(timeout=0.1) is None
        assert time.monotonic() - started >= 1
        assert named(events, "queue_unreachable")


class TestHeartbeat:
    """The heartbeat says how long ago a worker was alive."""

    async def test_its_age(self, resources: Resources) -> None:
        assert await heartbeat_age(resources.redis) is None
        await write_heartbeat(resources.redis)
        assert await heartbeat_age(resources.redis) == pytest.approx(5, abs=5)
        for seconds, age in ((30, 30), (-30, 0)):  # the second: clocks of two hosts disagree
            await resources.redis.set(HEARTBEAT_KEY, repr(time.time() - seconds))
            assert await heartbeat_age(resources.redis) == pytest.approx(age, abs=10)
