"""SIGTERM while a file is uploaded and the progress of another one is watched."""

import asyncio
import time
from collections.abc import AsyncIterator

from tests.faults.test_shutdown import SHUTDOWN_LIMIT, refuses
from tests.features.links.faults.uploads import CSV, generated, upload
from tests.polling import eventually
from tests.service import Service


class TestShutdown:
    """SIGTERM lets an upload and a stream of events finish, and the exit code is 0."""

    async def test_with_both_under_way(self, service: Service) -> None:
        app = service.another_app(server="gunicorn")
        await asyncio.to_thread(app.wait_until, "/health/ready")
        service.worker.kill()
        file = generated("uploaded", 1000)
        halfway, go_on = asyncio.Event(), asyncio.Event()

        async def slowly() -> AsyncIterator[bytes]:
            yield file[: len(file) // 2]
            halfway.set()
            await go_on.wait()
            yield file[len(file) // 2 :]

        headers = {**CSV, "Content-Length": str(len(file))}
        async with service.client(app) as client:
            path = await upload(client, generated("watched", 1000))
            sending = asyncio.create_task(
                client.post("/api/v1/imports", content=slowly(), headers=headers)
            )
            events = {"Accept": "text/event-stream"}
            async with client.stream("GET", path, headers=events) as stream:
                lines = stream.aiter_lines()
                assert await anext(lines) == "event: progress"
                await halfway.wait()
                started = time.monotonic()
                app.terminate()
                await eventually("no new connections", lambda: refuses(app))
                go_on.set()
                assert (await sending).status_code == 202
                service.worker.start()
                assert "event: finished" in [line async for line in lines]
        assert await asyncio.to_thread(app.wait) == 0
        assert time.monotonic() - started < SHUTDOWN_LIMIT
