"""SIGTERM while a request is running, with gunicorn as in production."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

from tests.polling import eventually
from tests.service import App, Service

SHUTDOWN_LIMIT = 25.0  # seconds


class TestShutdown:
    """SIGTERM lets running requests finish, refuses new ones, and the exit code is 0."""

    async def test_a_body_that_is_still_arriving(self, service: Service) -> None:
        app = service.another_app(server="gunicorn")
        await asyncio.to_thread(app.wait_until, "/health/ready")
        body = json.dumps({"name": "slow", "scopes": ["tokens:write"]}).encode()
        halfway, go_on = asyncio.Event(), asyncio.Event()

        async def slowly() -> AsyncIterator[bytes]:
            yield body[:10]
            halfway.set()
            await go_on.wait()
            yield body[10:]

        headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        async with service.client(app) as client:
            request = asyncio.create_task(
                client.post("/api/v1/tokens", content=slowly(), headers=headers)
            )
            await halfway.wait()
            started = time.monotonic()
            app.terminate()
            await eventually("no new connections", lambda: refuses(app))
            go_on.set()
            answer = await request
        assert answer.status_code == 201
        assert await asyncio.to_thread(app.wait) == 0
        assert time.monotonic() - started < SHUTDOWN_LIMIT
        # gunicorn's own lines have the format of the application's.
        events = [json.loads(line)["event"] for line in app.output().splitlines()]
        assert "Booting worker" in str(events)


async def refuses(app: App) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", app.port)
    except OSError:
        return True
    writer.close()
    await writer.wait_closed()
    return False
