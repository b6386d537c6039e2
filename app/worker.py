"""The worker process: runs the jobs, crons and loops of the features."""

import asyncio
import contextlib
import time
from typing import Any

import structlog
from saq import CronJob, Job, Worker

from app.config import Settings
from app.infra.backlog import BacklogGauges
from app.infra.cancelling import cancel_all
from app.infra.capacity import check_capacity
from app.infra.feature import Task, open_features
from app.infra.lifespan import Resources, open_resources
from app.infra.logs import configure_logging
from app.infra.metrics import Metrics
from app.infra.queue import DEQUEUE_WAIT, HEARTBEAT_EVERY, make_worker_queue, write_heartbeat
from app.infra.redis import REDIS_FAILURES
from app.registry import FEATURES

log = structlog.get_logger(__name__)

# Longer than for a request, because a job's transactions are larger and no client waits.
CHECKOUT_LIMIT = 60.0  # seconds
REDIS_TIMEOUT = 2.0  # seconds
RESTART_LOOP_AFTER = 1.0  # seconds


class GracefulWorker(Worker[Any]):
    """Stops as soon as the running jobs have finished, or after `grace` seconds.

    SAQ's own grace period also waits for its timers, which sleep for up to a minute.
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
        # The remaining tasks wait for work, or took longer than the grace period.
        await cancel_all(self.tasks)
        await super().stop()


async def run_worker(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT. Raises `ValueError` if Postgres allows too few connections."""
    async with (
        open_resources(
            settings.model_copy(update={"redis_timeout": REDIS_TIMEOUT}),
            name="drydock-worker",
            metrics=Metrics(settings),
            checkout_limit=CHECKOUT_LIMIT,
        ) as resources,
        open_features(resources, FEATURES),
    ):
        await check_capacity(resources.engine, settings)
        gauges = BacklogGauges(resources, FEATURES)
        loops = [loop for feature in FEATURES for loop in feature.work.loops]
        tasks = [
            asyncio.create_task(supervise(loop, resources))
            for loop in (_heartbeat, gauges.keep_up_to_date, *loops)
        ]
        try:
            await _make_worker(settings, resources).start()
        finally:
            await cancel_all(tasks)


def _make_worker(settings: Settings, resources: Resources) -> GracefulWorker:
    queue = make_worker_queue(settings)

    async def startup(context: dict[str, Any]) -> None:
        context["resources"] = resources

    async def shutdown(_context: dict[str, Any]) -> None:
        await queue.disconnect()

    async def before(context: dict[str, Any]) -> None:
        context["began"] = time.monotonic()
        if resources.traces is not None:
            job: Job = context["job"]
            context["traced"] = resources.traces.job(job.function, job.meta)
            context["traced"].__enter__()

    async def after(context: dict[str, Any]) -> None:
        job: Job = context["job"]
        seconds = time.monotonic() - context["began"]
        resources.metrics.observe_job(job.function, job.status.value, seconds)
        if "traced" in context:
            error = context.get("exception")
            context["traced"].__exit__(type(error) if error else None, error, None)

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
        before_process=before,
        after_process=after,
        dequeue_timeout=DEQUEUE_WAIT,
        timers={"sweep": 10},
        grace=settings.shutdown_grace,
    )


async def supervise(loop: Task, resources: Resources) -> None:
    """Run a loop for ever. An exception is logged, and the loop starts again after a second."""
    last_failure = ""  # its stack trace is logged already
    while True:
        try:
            await loop(resources)
        except Exception as error:
            # Redis or Postgres may be down for a while.
            expected = isinstance(error, REDIS_FAILURES)
            failure = f"{type(error).__name__}: {error}"[:300]
            log.warning(
                "loop_failed",
                loop=loop.__name__,
                error=failure,
                exc_info=None if expected or failure == last_failure else error,
            )
            last_failure = failure
            await asyncio.sleep(RESTART_LOOP_AFTER)


async def _heartbeat(resources: Resources) -> None:
    """Show that the event loop works: in a file for the container, in Redis for /health."""
    while True:
        if resources.settings.heartbeat_file is not None:
            resources.settings.heartbeat_file.touch()
        await write_heartbeat(resources.redis)
        await asyncio.sleep(HEARTBEAT_EVERY)


def main(settings: Settings) -> None:
    configure_logging(settings)
    asyncio.run(run_worker(settings))
