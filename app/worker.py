"""The worker: the same resources as the web side, running jobs, crons and loops."""

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any

import structlog
from saq import CronJob, Worker

from app.config import Settings
from app.infra.db import check_capacity
from app.infra.feature import Task, open_features
from app.infra.lifespan import Resources, open_resources
from app.infra.queue import DEQUEUE_WAIT, HEARTBEAT_EVERY, beat, make_worker_queue
from app.infra.redis import REDIS_FAILURES
from app.infra.telemetry import Metrics, configure_logging
from app.registry import FEATURES

log = structlog.get_logger(__name__)

# A worker's transactions are longer than a request's, and nobody waits for its answers.
LEND_LIMIT = 60.0  # seconds
REDIS_LIMIT = 2.0  # seconds
CANCEL_AGAIN = 1.0  # seconds
AFTER_FAILURE = 1.0  # seconds until a loop that failed starts again


class GracefulWorker(Worker[Any]):
    """Lets running jobs finish.

    SAQ's own grace period also waits for its timers, the slowest of which sleeps a minute.
    """

    def __init__(self, *args: Any, grace: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._grace = grace

    async def stop(self) -> None:
        self.event.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._grace):
                while running := [context["task"] for context in self.job_task_contexts.values()]:
                    await asyncio.wait(running)
        # What is left is waiting for work, or has used up its time.
        await _cancel(self.tasks)
        await super().stop()


async def _cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel until all have ended: before Python 3.12 one cancellation may get lost.

    asyncio.wait_for, within which redis-py sends, swallows the one that finds it just done.
    """
    cancelled = left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN)
    await asyncio.gather(*cancelled, return_exceptions=True)


async def run_worker(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT. Raises `ConfigurationError` for a pool that can't fit."""
    patient = settings.model_copy(update={"redis_timeout": REDIS_LIMIT})
    async with (
        open_resources(
            patient,
            name="drydock-worker",
            metrics=Metrics(settings),
            lend_limit=LEND_LIMIT,
        ) as resources,
        open_features(resources, FEATURES),
    ):
        await check_capacity(resources.engine, settings)
        loops = [loop for feature in FEATURES for loop in feature.work.loops]
        tasks = [asyncio.create_task(supervise(loop, resources)) for loop in (_beat, *loops)]
        try:
            await _make_worker(settings, resources).start()
        finally:
            await _cancel(tasks)


def _make_worker(settings: Settings, resources: Resources) -> GracefulWorker:
    queue = make_worker_queue(settings)

    async def startup(context: dict[str, Any]) -> None:
        context["resources"] = resources

    async def shutdown(_context: dict[str, Any]) -> None:
        await queue.disconnect()

    return GracefulWorker(
        queue,
        functions=[job for feature in FEATURES for job in feature.work.jobs],
        cron_jobs=[
            CronJob(cron.task, cron=cron.schedule, timeout=300)
            for feature in FEATURES
            for cron in feature.work.crons
        ],
        concurrency=settings.worker_concurrency,
        startup=startup,
        shutdown=shutdown,
        dequeue_timeout=DEQUEUE_WAIT,
        timers={"sweep": 10},
        grace=settings.shutdown_grace,
    )


async def supervise(loop: Task, resources: Resources) -> None:
    """Run a loop for ever: what it raises is logged, and it starts again a moment later."""
    told = ""  # the failure told last: again and again, its stack trace says nothing new
    while True:
        try:
            await loop(resources)
        except Exception as error:
            # A boundary: Redis or Postgres may be away for a while, and come back.
            known = isinstance(error, REDIS_FAILURES)
            failure = f"{type(error).__name__}: {error}"[:300]
            log.warning(
                "loop_failed",
                loop=loop.__name__,
                error=failure,
                exc_info=None if known or failure == told else error,
            )
            told = failure
            await asyncio.sleep(AFTER_FAILURE)


async def _beat(resources: Resources) -> None:
    """Say that this process gets through its event loop: to its container, and to /health."""
    while True:
        if resources.settings.heartbeat_file is not None:
            resources.settings.heartbeat_file.touch()
        await beat(resources.redis)
        await asyncio.sleep(HEARTBEAT_EVERY)


def main(settings: Settings) -> None:
    configure_logging(settings)
    asyncio.run(run_worker(settings))
