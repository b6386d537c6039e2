"""The app and the worker stop at once when idle, and start before Postgres and Redis."""

import asyncio

from tests.polling import eventually
from tests.service import Service

IDLE_SECONDS = 20.0  # less than SHUTDOWN_GRACE: nothing waited for it


class TestStart:
    """A process starts without Postgres and Redis, and works as soon as they do."""

    async def test_before_postgres_and_redis(self, service: Service) -> None:
        async with service.client() as client:

            async def is_well() -> bool:
                # "ok" also means a heartbeat of the worker.
                return bool((await client.get("/health")).json()["status"] == "ok")

            await eventually("all is well", is_well)
            service.app.terminate()
            await asyncio.to_thread(service.app.wait, seconds=IDLE_SECONDS)
            service.worker.terminate()
            assert await asyncio.to_thread(service.worker.wait, seconds=IDLE_SECONDS) == 0
            for server in (service.postgres, service.redis):
                await asyncio.to_thread(server.stop)
            service.app.start()
            service.worker.start()
            await asyncio.to_thread(service.app.wait_until, "/health/live")
            assert (await client.get("/health/ready")).status_code == 503
            assert (await client.get("/api/v1/tokens")).status_code == 503
            await asyncio.to_thread(service.postgres.start)
            await asyncio.to_thread(service.app.wait_until, "/health/ready")
            assert (await client.get("/api/v1/tokens")).status_code == 200
            await asyncio.to_thread(service.redis.start)
            await eventually("all is well again", is_well)
