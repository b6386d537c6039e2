"""The job queue (SAQ over Redis) and the worker's heartbeat. The features define the jobs.

A job only tells the worker to look at rows in Postgres. Commit the rows first, and enqueue the job
afterwards. A job can be lost, so a loop of the worker must also look for rows without one.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Concatenate, ParamSpec, TypeAlias

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError
from saq import Job, Status
from saq.queue.redis import RedisQueue

from app.config import Settings
from app.infra.redis import CircuitBreaker, RedisUnavailable, make_redis
from app.infra.traces import trace_headers

log = structlog.get_logger(__name__)

P = ParamSpec("P")
# A job's first argument: SAQ's own entries, and the process's under "resources".
JobContext: TypeAlias = dict[str, Any]

QUEUE = "drydock"
HEARTBEAT_KEY = "drydock:worker:heartbeat"
HEARTBEAT_EVERY = 1.0  # seconds
HEARTBEAT_STALE = 15.0  # seconds; a slow fork of Redis may delay several heartbeats
LONGEST_JOB = 900  # seconds
DEQUEUE_WAIT = 5.0  # seconds; longer would hide a broken connection for longer


# KEYS: a lock, and the jobs that workers have taken. ARGV: how long the lock holds, in seconds.
# Returns the jobs that the sweep before this one saw too, as pairs of an id and the job.
SWEEP = """
local swept, seen = {}, KEYS[2] .. ':seen'
if redis.call('SET', KEYS[1], 1, 'NX', 'EX', ARGV[1]) then
    local taken = redis.call('LRANGE', KEYS[2], 0, -1)
    for _, id in ipairs(taken) do
        if redis.call('SISMEMBER', seen, id) == 1 then
            table.insert(swept, {id, redis.call('GET', id)})
        end
    end
    redis.call('DEL', seen)
    for _, id in ipairs(taken) do
        redis.call('SADD', seen, id)
    end
end
return swept
"""


class PatientQueue(RedisQueue):
    """A queue whose worker waits when Redis fails, and leaves a job alone that was just taken.

    SAQ's own worker asks Redis again at once, which keeps a core busy while Redis is down. Here it
    waits for a second.

    A worker takes a job first, and marks it as its own a moment later. SAQ's own sweep may look in
    between: it then takes the job for an abandoned one, and the job runs twice. Here a sweep gives
    up only what the sweep before it saw too.
    """

    def __init__(self, redis: Redis, *, name: str) -> None:
        super().__init__(redis, name=name)
        self._cleanup_script = redis.register_script(SWEEP)

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
    queue = PatientQueue(redis, name=QUEUE)
    queue.register_before_enqueue(_continue_trace)
    return queue


async def _continue_trace(job: Job) -> None:
    """Have the job belong to the trace of the request that enqueues it, if there is one."""
    job.meta.update(trace_headers())


def make_worker_queue(settings: Settings) -> PatientQueue:
    """A queue with a Redis client of its own, whose connections block while they wait for a job."""
    redis = make_redis(settings, timeout=DEQUEUE_WAIT * 2, size=settings.worker_concurrency + 20)
    return make_queue(redis)


@dataclass(frozen=True)
class Enqueuer:
    """Enqueues jobs for the worker."""

    redis: Redis
    breaker: CircuitBreaker

    @cached_property
    def queue(self) -> PatientQueue:
        return make_queue(self.redis)

    async def enqueue(
        self,
        job: Callable[Concatenate[JobContext, P], Awaitable[None]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        """Have the worker run `job`, one of a feature's jobs. Call this after the commit.

        Pass the job's arguments by name. They must be values that JSON can hold. While Redis is
        down, the job is dropped and logged, and nothing is raised.
        """
        if args:
            raise TypeError("a job's arguments go by name")
        await self._enqueue(job.__qualname__, kwargs)

    async def enqueue_once(
        self,
        key: str,
        job: Callable[Concatenate[JobContext, P], Awaitable[None]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        """`enqueue`, unless a job with this key waits. SAQ does not run it again if it fails.

        For rows that have a count of their attempts: a loop finds them again.
        """
        if args:
            raise TypeError("a job's arguments go by name")
        await self._enqueue(job.__qualname__, kwargs, key=key)

    async def _enqueue(self, name: str, kwargs: dict[str, Any], *, key: str | None = None) -> None:
        adding = self._add_once(name, key, kwargs) if key else self._add(name, kwargs)
        try:
            await self.breaker.run(adding)
        except RedisUnavailable as error:
            log.warning("job_not_enqueued", job=name, reason=str(error))

    async def _add(self, name: str, kwargs: dict[str, Any]) -> None:
        await self.queue.enqueue(name, retries=3, timeout=LONGEST_JOB, **kwargs)

    async def _add_once(self, name: str, key: str, kwargs: dict[str, Any]) -> None:
        once = {"retries": 1, "timeout": LONGEST_JOB, **kwargs}
        if await self.queue.enqueue(name, key=key, **once) is not None:
            return
        held = await self.queue.job(key)
        if held is not None and held.status is not Status.QUEUED:
            # It runs, or its worker has died: SAQ notices that after LONGEST_JOB.
            await self.queue.enqueue(name, **once)


async def write_heartbeat(redis: Redis) -> None:
    """Record in Redis that a worker is alive now."""
    await redis.set(HEARTBEAT_KEY, repr(time.time()), ex=int(HEARTBEAT_STALE * 4))


async def heartbeat_age(redis: Redis) -> float | None:
    """Seconds since the last heartbeat of a worker; None without one."""
    last = await redis.get(HEARTBEAT_KEY)
    return None if last is None else max(0.0, time.time() - float(last))
