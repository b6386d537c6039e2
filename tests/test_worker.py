"""The worker: jobs, the clock, loops, and how it stops, shown with a small feature."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from app.config import Settings
from app.infra.feature import Cron, Feature
from app.infra.lifespan import Resources
from app.infra.queue import heartbeat_age, make_queue
from app.infra.redis import make_redis
from app.infra.telemetry import configure_logging
from app.worker import run_worker
from tests.live import ROOT, environment_of
from tests.logs import captured_logs, named
from tests.programs import eventually

# SAQ's way to store a job: redis-py would like another command's name.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

Bring = Callable[[Feature], None]


@pytest.fixture
def bring(monkeypatch: pytest.MonkeyPatch) -> Bring:
    """Have the worker run this feature and no other."""

    def bring(feature: Feature) -> None:
        monkeypatch.setattr("app.worker.FEATURES", (feature,))
        monkeypatch.setattr("app.worker.AFTER_FAILURE", 0.01)

    return bring


@asynccontextmanager
async def working(settings: Settings) -> AsyncIterator[asyncio.Task[None]]:
    """A worker in this process, which stops at the end."""
    configure_logging(settings)
    worker = asyncio.create_task(run_worker(settings))
    async with make_redis(settings) as redis:
        await eventually("a worker", lambda: has_worker(redis), seconds=20)
    try:
        yield worker
    finally:
        stop(worker)
        async with asyncio.timeout(20):
            await worker


async def has_worker(redis: Redis) -> bool:
    return bool((await make_queue(redis).info())["workers"])


def stop(worker: asyncio.Task[None]) -> None:
    """Tell it as a platform does. It listens to signals before it can be seen in Redis."""
    if not worker.done():
        signal.raise_signal(signal.SIGTERM)


async def enqueue(settings: Settings, job: str, **kwargs: Any) -> None:
    async with make_redis(settings) as redis:
        await make_queue(redis).enqueue(job, **kwargs)


class TestJobs:
    """The worker runs the jobs of the features, each with what the process holds."""

    async def test_a_job_gets_its_arguments_and_the_resources(
        self, own_settings: Settings, bring: Bring
    ) -> None:
        done: asyncio.Future[tuple[str, Resources]] = asyncio.Future()

        async def load(context: dict[str, Any], *, cargo: str) -> None:
            done.set_result((cargo, context["resources"]))

        bring(Feature(name="ships", jobs=[load]))
        async with working(own_settings):
            await enqueue(own_settings, load.__qualname__, cargo="tea")
            async with asyncio.timeout(20):
                cargo, resources = await done
            assert cargo == "tea"
            async with resources.engine.connect():
                pass

    async def test_a_job_that_fails_is_tried_again(
        self, own_settings: Settings, bring: Bring
    ) -> None:
        tries = 0
        done = asyncio.Event()

        async def load(_context: dict[str, Any]) -> None:
            nonlocal tries
            tries += 1
            if tries == 1:
                raise ConnectionError
            done.set()

        bring(Feature(name="ships", jobs=[load]))
        async with working(own_settings):
            await enqueue(own_settings, load.__qualname__, retries=3)
            await asyncio.wait_for(done.wait(), 20)
        assert tries == 2

    async def test_a_cron_runs_by_the_clock(self, own_settings: Settings, bring: Bring) -> None:
        done = asyncio.Event()

        async def tide(_context: dict[str, Any]) -> None:
            done.set()

        # A sixth field counts seconds: a minute would be long.
        bring(Feature(name="ships", crons=[Cron(tide, "* * * * * *")]))
        async with working(own_settings):
            await asyncio.wait_for(done.wait(), 20)


class TestLoops:
    """A loop runs until the worker stops; what it raises is logged, and it starts again."""

    async def test_it_starts_again_after_a_failure(
        self, own_settings: Settings, bring: Bring
    ) -> None:
        failures: list[Exception] = [
            ConnectionError("away"),
            ValueError("a bug"),
            ValueError("a bug"),
        ]
        go_on, recovered = asyncio.Event(), asyncio.Event()

        async def watch(_resources: Resources) -> None:
            await go_on.wait()
            if failures:
                raise failures.pop(0)
            recovered.set()
            await asyncio.Event().wait()

        bring(Feature(name="ships", loops=[watch]))
        async with working(own_settings):
            with captured_logs() as events:
                go_on.set()
                await asyncio.wait_for(recovered.wait(), 20)
        failed = named(events, "loop_failed")
        assert [event["error"] for event in failed] == [
            "ConnectionError: away",
            "ValueError: a bug",
            "ValueError: a bug",
        ]
        assert {event["loop"] for event in failed} == {"watch"}
        # A stack trace for what is unexpected, once; a server that is away needs none.
        assert [event["exc_info"] is not None for event in failed] == [False, True, False]

    async def test_a_loop_ends_with_the_worker(self, own_settings: Settings, bring: Bring) -> None:
        begun, ended = asyncio.Event(), asyncio.Event()

        async def watch(_resources: Resources) -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        bring(Feature(name="ships", loops=[watch]))
        async with working(own_settings):
            await asyncio.wait_for(begun.wait(), 20)
        assert ended.is_set()


class TestHeartbeat:
    """A worker that is alive says so."""

    async def test_it_beats(self, own_settings: Settings, bring: Bring) -> None:
        bring(Feature(name="ships"))
        async with make_redis(own_settings) as redis, working(own_settings):
            await eventually("a heartbeat", lambda: is_fresh(redis), seconds=30)

    async def test_its_container_can_see_it_too(
        self, own_settings: Settings, bring: Bring, tmp_path: Path
    ) -> None:
        file = tmp_path / "heartbeat"
        bring(Feature(name="ships"))
        async with working(own_settings.model_copy(update={"heartbeat_file": file})):
            await eventually("a file", lambda: exists(file), seconds=30)

    async def test_before_any_worker_there_is_none(self, own_settings: Settings) -> None:
        async with make_redis(own_settings) as redis:
            assert await heartbeat_age(redis) is None


async def is_fresh(redis: Redis) -> bool:
    age = await heartbeat_age(redis)
    return age is not None and age < 2


async def exists(file: Path) -> bool:
    return file.exists()  # noqa: ASYNC240 -- asked at once, of a folder in memory


class TestStop:
    """A worker that is told to stop finishes the jobs it has begun, within its grace."""

    async def test_a_job_that_runs_is_finished(self, own_settings: Settings, bring: Bring) -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()
        finished = False

        async def load(_context: dict[str, Any]) -> None:
            nonlocal finished
            begun.set()
            await go_on.wait()
            finished = True

        bring(Feature(name="ships", jobs=[load]))
        async with working(own_settings) as worker:
            await enqueue(own_settings, load.__qualname__)
            await asyncio.wait_for(begun.wait(), 20)
            stop(worker)
            await asyncio.sleep(0.1)  # the worker is stopping now, and waits
            assert not worker.done()
            go_on.set()
            await asyncio.wait_for(asyncio.shield(worker), 20)
        assert finished

    async def test_one_that_takes_longer_than_the_grace_is_cancelled(
        self, own_settings: Settings, bring: Bring
    ) -> None:
        begun = asyncio.Event()

        async def load(_context: dict[str, Any]) -> None:
            begun.set()
            await asyncio.Event().wait()

        bring(Feature(name="ships", jobs=[load]))
        settings = own_settings.model_copy(update={"shutdown_grace": 0.1})
        async with working(settings):
            await enqueue(own_settings, load.__qualname__)
            await asyncio.wait_for(begun.wait(), 20)
        # It went back into the queue: a worker that starts later takes it up again.
        async with make_redis(own_settings) as redis:
            assert await make_queue(redis).count("incomplete") == 1

    async def test_sigterm_ends_the_process_with_0(self, own_settings: Settings) -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "app", "worker"),
            cwd=ROOT,
            env=environment_of(own_settings, whole=True),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with make_redis(own_settings) as redis:
                await eventually("a heartbeat", lambda: is_fresh(redis), seconds=30)
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(30):
                output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        assert process.returncode == 0, output
        assert b"stopping" in output
        assert b"Traceback" not in output
