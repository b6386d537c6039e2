"""The job queue (SAQ over Redis) and the worker's heartbeat. What jobs do lives in the features.

A job is a hint that work stands in Postgres, never the only record of it: whoever accepts work
commits it first and enqueues after, and the worker looks for work whose hint was lost.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeAlias

import structlog
from redis.asyncio import Redis

from app.config import Settings
from app.infra.redis import RedisGate, RedisUnavailable, make_redis

if TYPE_CHECKING:
    from app.infra.patient_queue import PatientQueue

log = structlog.get_logger(__name__)

P = ParamSpec("P")
# A job's first argument: SAQ's own entries, and the process's under "resources".
JobContext: TypeAlias = dict[str, Any]

QUEUE = "drydock"
HEARTBEAT_KEY = "drydock:worker:heartbeat"
HEARTBEAT_EVERY = 1.0  # seconds
HEARTBEAT_STALE = 15.0  # seconds; three missed ones would page people for a slow fork
DEQUEUE_WAIT = 5.0  # seconds; a silent network shows within this and the socket's timeout


def make_queue(redis: Redis) -> "PatientQueue":
    # SAQ brings its worker along, crontabs and time zones: 1.2 MB that a web process does without
    # until it has a job to hand on.
    from app.infra.patient_queue import PatientQueue  # noqa: PLC0415

    return PatientQueue(redis, name=QUEUE)


def make_worker_queue(settings: Settings) -> "PatientQueue":
    """The worker's own: its connections block while they wait for a job."""
    redis = make_redis(settings, timeout=DEQUEUE_WAIT * 2, size=settings.worker_concurrency + 20)
    return make_queue(redis)


@dataclass(frozen=True)
class Enqueuer:
    """How the web side hands work to the worker."""

    redis: Redis
    gate: RedisGate

    @cached_property
    def queue(self) -> "PatientQueue":
        return make_queue(self.redis)

    async def enqueue(
        self,
        job: Callable[Concatenate[JobContext, P], Awaitable[None]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        """Have the worker run `job`, one of a feature's jobs. Call it after the commit.

        The job's arguments go by name, and must be what JSON can hold. While Redis is down the job
        is lost, nothing is raised, and the worker must find the work in Postgres.
        """
        if args:
            raise TypeError("a job's arguments go by name")
        name = job.__qualname__
        try:
            await self.gate.run(self.queue.enqueue(name, retries=3, timeout=900, **kwargs))
        except RedisUnavailable as error:
            log.warning("job_waits_for_worker", job=name, reason=str(error))


async def beat(redis: Redis) -> None:
    """Say that a worker is alive and gets through its loops."""
    await redis.set(HEARTBEAT_KEY, repr(time.time()), ex=int(HEARTBEAT_STALE * 4))


async def heartbeat_age(redis: Redis) -> float | None:
    """Seconds since a worker last said that it is alive; None if none ever did."""
    last = await redis.get(HEARTBEAT_KEY)
    return None if last is None else max(0.0, time.time() - float(last))
