"""A worker in this process, running a feature of the test's own."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from app.config import Settings
from app.infra.feature import Feature
from app.infra.logs import configure_logging
from app.infra.queue import heartbeat_age, make_queue
from app.infra.redis import make_redis
from app.worker import run_worker
from tests.polling import eventually

# SAQ is behind redis-py, which would like another command's name, and behind Python 3.14.
SAQ_IS_BEHIND = [
    pytest.mark.filterwarnings(f"ignore:{old}:DeprecationWarning")
    for old in ("Call to deprecated setex", "'asyncio.iscoroutinefunction' is deprecated")
]


@asynccontextmanager
async def working(settings: Settings, feature: Feature) -> AsyncIterator[asyncio.Task[None]]:
    """A worker that knows this feature and no other. It stops at the end."""
    configure_logging(settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.worker.FEATURES", (feature,))
        patch.setattr("app.worker.RESTART_LOOP_AFTER", 0.01)
        worker = asyncio.create_task(run_worker(settings))
        try:
            async with make_redis(settings) as redis:
                await eventually("a worker", lambda: is_seen(worker, redis), seconds=20)
            yield worker
            stop(worker)
            async with asyncio.timeout(20):
                await worker
        finally:
            worker.cancel()  # harmless when it has stopped


async def is_seen(worker: asyncio.Task[None], redis: Redis) -> bool:
    if worker.done():
        await worker  # raises what ended it
    return bool((await make_queue(redis).info())["workers"])


def stop(worker: asyncio.Task[None]) -> None:
    """Tell it as a platform does. It listens to signals before it can be seen in Redis."""
    if not worker.done():
        signal.raise_signal(signal.SIGTERM)


async def enqueue(settings: Settings, job: str, **kwargs: Any) -> None:
    async with make_redis(settings) as redis:
        await make_queue(redis).enqueue(job, **kwargs)


async def is_fresh(redis: Redis) -> bool:
    age = await heartbeat_age(redis)
    return age is not None and age < 2
