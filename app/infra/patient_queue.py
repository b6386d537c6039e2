"""SAQ's queue, with patience. Apart from `infra.queue`, which imports it when it is needed."""

import asyncio

import structlog
from redis.exceptions import RedisError
from saq import Job
from saq.queue.redis import RedisQueue

log = structlog.get_logger(__name__)


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
