"""The worker: jobs, crons, loops, its heartbeat, and how it stops."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from app.config import Settings
from app.infra.feature import Cron, Feature, Work
from app.infra.lifespan import Resources
from app.infra.logs import configure_logging
from app.infra.queue import heartbeat_age, make_queue
from app.infra.redis import make_redis
from app.worker import run_worker
from tests.logs import captured_logs, named
from tests.polling import PATIENCE, eventually

# SAQ is behind redis-py, which would like another command's name, and behind Python 3.14.
pytestmark = [
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
                await eventually("a worker", lambda: is_seen(worker, redis))
            yield worker
            stop(worker)
            async with asyncio.timeout(PATIENCE):
                await worker
        finally:
            worker.cancel()  # harmless when it has stopped


async def is_seen(worker: asyncio.Task[None], redis: Redis) -> bool:
    if worker.done():
        await worker  # raises what ended it
    return bool((await make_queue(redis).info())["workers"])


def stop(worker: asyncio.Task[None]) -> None:
    """Send SIGTERM. The worker handles signals before its heartbeat is in Redis."""
    if not worker.done():
        signal.raise_signal(signal.SIGTERM)


async def enqueue(settings: Settings, job: str, **kwargs: Any) -> None:
    async with make_redis(settings) as redis:
        await make_queue(redis).enqueue(job, **kwargs)


async def is_fresh(redis: Redis) -> bool:
    age = await heartbeat_age(redis)
    return age is not None and age < 2


class TestJobs:
    """The worker runs the jobs and crons of the features, with the resources of the process."""

    async def test_a_job_that_fails_is_tried_again_and_a_cron_runs_by_the_clock(
        self, own_settings: Settings
    ) -> None:
        tries: list[str] = []
        done: asyncio.Future[Resources] = asyncio.Future()
        flooded = asyncio.Event()

        async def load(context: dict[str, Any], *, cargo: str) -> None:
            tries.append(cargo)
            if len(tries) == 1:
                raise ConnectionError
            done.set_result(context["resources"])

        async def tide(_context: dict[str, Any]) -> None:
            flooded.set()

        # A sixth field counts seconds: this test does not wait for a minute.
        work = Work(jobs=[load], crons=[Cron(tide, "* * * * * *")])
        async with working(own_settings, Feature(name="ships", work=work)):
            await enqueue(own_settings, load.__qualname__, cargo="tea", retries=3)
            async with asyncio.timeout(PATIENCE):
                resources = await done
                await flooded.wait()
            async with resources.engine.connect():
                pass
            await eventually("both tries are measured", lambda: measured(resources, load))
        assert tries == ["tea", "tea"]


async def measured(resources: Resources, job: Callable[..., object]) -> bool:
    """Whether the metrics have one try of the job that failed, and one that did not."""
    name, labels = "drydock_job_duration_seconds_count", {"task": job.__qualname__}
    read = resources.metrics.registry.get_sample_value
    return [read(name, {**labels, "status": s}) for s in ("queued", "complete")] == [1, 1]


class TestLoops:
    """A loop runs until the worker stops. If it raises, that is logged, and it starts again."""

    async def test_it(self, own_settings: Settings) -> None:
        failures = [ConnectionError("away"), ValueError("a bug"), ValueError("a bug")]
        go_on, recovered, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def watch(_resources: Resources) -> None:
            await go_on.wait()
            if failures:
                raise failures.pop(0)
            recovered.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        feature = Feature(name="ships", work=Work(loops=[watch]))
        async with working(own_settings, feature):
            with captured_logs() as events:
                go_on.set()
                await asyncio.wait_for(recovered.wait(), PATIENCE)
        assert ended.is_set()
        failed = named(events, "loop_failed")
        errors = ["ConnectionError: away", "ValueError: a bug", "ValueError: a bug"]
        assert [event["error"] for event in failed] == errors
        assert {event["loop"] for event in failed} == {"watch"}
        # Only an unexpected error is logged with its stack trace, and only once.
        assert [event["exc_info"] is not None for event in failed] == [False, True, False]


class TestHeartbeat:
    """A worker that is alive writes a heartbeat to Redis and to a file."""

    async def test_it(self, own_settings: Settings, tmp_path: Path) -> None:
        file = tmp_path / "heartbeat"
        settings = own_settings.model_copy(update={"heartbeat_file": file})
        async with make_redis(settings) as redis, working(settings, Feature(name="ships")):
            await eventually("a heartbeat", lambda: is_fresh(redis))
            assert file.exists()


class TestStop:
    """A worker that is told to stop finishes its running jobs within the grace period."""

    async def test_a_job_that_runs_is_finished(self, own_settings: Settings) -> None:
        begun, go_on, finished = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def load(_context: dict[str, Any]) -> None:
            begun.set()
            await go_on.wait()
            finished.set()

        feature = Feature(name="ships", work=Work(jobs=[load]))
        async with working(own_settings, feature) as worker:
            await enqueue(own_settings, load.__qualname__)
            await asyncio.wait_for(begun.wait(), PATIENCE)
            stop(worker)
            await asyncio.sleep(0.1)  # time to stop at once, if it were wrong
            assert not worker.done()
            go_on.set()
            await asyncio.wait_for(asyncio.shield(worker), PATIENCE)
        assert finished.is_set()

    async def test_one_that_takes_longer_goes_back_into_the_queue(
        self, own_settings: Settings
    ) -> None:
        begun = asyncio.Event()

        async def load(_context: dict[str, Any]) -> None:
            begun.set()
            await asyncio.Event().wait()

        feature = Feature(name="ships", work=Work(jobs=[load]))
        settings = own_settings.model_copy(update={"shutdown_grace": 0.1})
        async with working(settings, feature):
            await enqueue(own_settings, load.__qualname__)
            await asyncio.wait_for(begun.wait(), PATIENCE)
        async with make_redis(own_settings) as redis:
            assert await make_queue(redis).count("incomplete") == 1


class TestCapacity:
    """A worker whose connections Postgres does not allow ends at once, with the reason."""

    async def test_it_raises_what_its_docstring_says(self, own_settings: Settings) -> None:
        with pytest.raises(ValueError, match="but Postgres allows"):
            await run_worker(own_settings.model_copy(update={"database_pool_size": 200}))
