"""The job queue (SAQ over Redis) and the worker's heartbeat. What jobs do lives in the features.

A job is a hint that work stands in Postgres, never the only record of it: whoever accepts work
commits it first and enqueues after, and the worker looks for work whose hint was lost.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError
from saq import Job
from saq.queue.redis import RedisQueue

from app.config import Settings
from app.infra.redis import RedisGate, RedisUnavailable, make_redis

log = structlog.get_logger(__name__)

QUEUE = "drydock"
HEARTBEAT_KEY = "drydock:worker:heartbeat"
HEARTBEAT_EVERY = 1.0  # seconds
HEARTBEAT_STALE = 15.0  # seconds; three missed ones would page people for a slow fork
DEQUEUE_WAIT = 5.0  # seconds; a silent network shows within this and the socket's timeout


class PatientQueue(RedisQueue):
    """A SAQ queue whose worker waits out a Redis that is away.

    SAQ asks for the next job at once after an error: with Redis down its worker burns a core.
    """

    async def dequeue(
        self,
        timeout: float = 0.0,  # noqa: ASYNC109 -- SAQ's signature
        poll_interval: float = 0.0,
    ) -> Job | None:
        try:
            return await super().dequeue(timeout, poll_interval)
        except (RedisError, OSError) as error:
            log.warning("queue_unreachable", error=type(error).__name__)
            await asyncio.sleep(1)
            return None


def make_queue(redis: Redis) -> PatientQueue:
    return PatientQueue(redis, name=QUEUE)


def make_worker_queue(settings: Settings) -> PatientQueue:
    """The worker's own: its connections block while they wait for a job."""
    redis = make_redis(settings, timeout=DEQUEUE_WAIT * 2, size=settings.worker_concurrency + 20)
    return make_queue(redis)


@dataclass(frozen=True)
class Enqueuer:
    """How the web side hands work to the worker."""

    queue: PatientQueue
    gate: RedisGate

    async def enqueue(self, job: str, **kwargs: Any) -> None:
        """Give the worker a hint to run `job`. Call it after the commit.

        Never fails: while Redis is down the hint is lost, and the worker finds the work itself.
        """
        try:
            await self.gate.run(self.queue.enqueue(job, retries=3, timeout=900, **kwargs))
        except RedisUnavailable as error:
            log.warning("job_waits_for_worker", job=job, reason=str(error))


async def beat(redis: Redis) -> None:
    """Say that a worker is alive and gets through its loops."""
    await redis.set(HEARTBEAT_KEY, repr(time.time()), ex=int(HEARTBEAT_STALE * 4))


async def heartbeat_age(redis: Redis) -> float | None:
    """Seconds since a worker last said that it is alive; None if none ever did."""
    last = await redis.get(HEARTBEAT_KEY)
    return None if last is None else max(0.0, time.time() - float(last))
