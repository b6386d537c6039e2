"""How the worker stops."""

import asyncio
import signal
import sys
from typing import Any

from app.config import Settings
from app.infra.feature import Feature, Work
from app.infra.queue import make_queue
from app.infra.redis import make_redis
from tests.live import ROOT, environment_of
from tests.programs import eventually
from tests.working import SAQ_IS_BEHIND, enqueue, is_fresh, stop, working

pytestmark = SAQ_IS_BEHIND


class TestStop:
    """A worker that is told to stop finishes the jobs it has begun, within its grace."""

    async def test_a_job_that_runs_is_finished(self, own_settings: Settings) -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()
        finished = False

        async def load(_context: dict[str, Any]) -> None:
            nonlocal finished
            begun.set()
            await go_on.wait()
            finished = True

        feature = Feature(name="ships", work=Work(jobs=[load]))
        async with working(own_settings, feature) as worker:
            await enqueue(own_settings, load.__qualname__)
            await asyncio.wait_for(begun.wait(), 20)
            stop(worker)
            await asyncio.sleep(0.1)  # the worker is stopping now, and waits
            assert not worker.done()
            go_on.set()
            await asyncio.wait_for(asyncio.shield(worker), 20)
        assert finished

    async def test_one_that_takes_longer_than_the_grace_is_cancelled(
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
