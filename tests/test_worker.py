"""The worker: jobs, the clock, loops and its heartbeat, shown with a small feature."""

import asyncio
from pathlib import Path
from typing import Any

from app.config import Settings
from app.infra.feature import Cron, Feature, Work
from app.infra.lifespan import Resources
from app.infra.queue import heartbeat_age
from app.infra.redis import make_redis
from tests.logs import captured_logs, named
from tests.programs import eventually
from tests.working import SAQ_IS_BEHIND, enqueue, is_fresh, working

pytestmark = SAQ_IS_BEHIND


class TestJobs:
    """The worker runs the jobs of the features, each with what the process holds."""

    async def test_a_job_gets_its_arguments_and_the_resources(self, own_settings: Settings) -> None:
        done: asyncio.Future[tuple[str, Resources]] = asyncio.Future()

        async def load(context: dict[str, Any], *, cargo: str) -> None:
            done.set_result((cargo, context["resources"]))

        feature = Feature(name="ships", work=Work(jobs=[load]))
        async with working(own_settings, feature):
            await enqueue(own_settings, load.__qualname__, cargo="tea")
            async with asyncio.timeout(20):
                cargo, resources = await done
            assert cargo == "tea"
            async with resources.engine.connect():
                pass

    async def test_a_job_that_fails_is_tried_again(self, own_settings: Settings) -> None:
        tries = 0
        done = asyncio.Event()

        async def load(_context: dict[str, Any]) -> None:
            nonlocal tries
            tries += 1
            if tries == 1:
                raise ConnectionError
            done.set()

        feature = Feature(name="ships", work=Work(jobs=[load]))
        async with working(own_settings, feature):
            await enqueue(own_settings, load.__qualname__, retries=3)
            await asyncio.wait_for(done.wait(), 20)
        assert tries == 2

    async def test_a_cron_runs_by_the_clock(self, own_settings: Settings) -> None:
        done = asyncio.Event()

        async def tide(_context: dict[str, Any]) -> None:
            done.set()

        # A sixth field counts seconds: a minute would be long.
        feature = Feature(name="ships", work=Work(crons=[Cron(tide, "* * * * * *")]))
        async with working(own_settings, feature):
            await asyncio.wait_for(done.wait(), 20)


class TestLoops:
    """A loop runs until the worker stops; what it raises is logged, and it starts again."""

    async def test_it_starts_again_after_a_failure(self, own_settings: Settings) -> None:
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

        feature = Feature(name="ships", work=Work(loops=[watch]))
        async with working(own_settings, feature):
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

    async def test_a_loop_ends_with_the_worker(self, own_settings: Settings) -> None:
        begun, ended = asyncio.Event(), asyncio.Event()

        async def watch(_resources: Resources) -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        feature = Feature(name="ships", work=Work(loops=[watch]))
        async with working(own_settings, feature):
            await asyncio.wait_for(begun.wait(), 20)
        assert ended.is_set()


class TestHeartbeat:
    """A worker that is alive says so."""

    async def test_it_beats(self, own_settings: Settings) -> None:
        feature = Feature(name="ships")
        async with make_redis(own_settings) as redis, working(own_settings, feature):
            await eventually("a heartbeat", lambda: is_fresh(redis), seconds=30)

    async def test_its_container_can_see_it_too(
        self, own_settings: Settings, tmp_path: Path
    ) -> None:
        file = tmp_path / "heartbeat"
        settings = own_settings.model_copy(update={"heartbeat_file": file})
        feature = Feature(name="ships")
        async with working(settings, feature):
            await eventually("a file", lambda: exists(file), seconds=30)

    async def test_before_any_worker_there_is_none(self, own_settings: Settings) -> None:
        async with make_redis(own_settings) as redis:
            assert await heartbeat_age(redis) is None


async def exists(file: Path) -> bool:
    return file.exists()  # noqa: ASYNC240 -- asked at once, of a folder in memory
