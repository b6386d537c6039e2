"""The app and the worker end at once when idle, and start in any order."""

import asyncio

import httpx

from tests.programs import wait_for
from tests.service import Service

IDLE_SECONDS = 5.0  # nothing is under way that would have to be finished first


class TestStart:
    """A process whose Postgres or Redis is not there yet starts, and is well once they are."""

    async def test_before_postgres_and_redis(self, service: Service) -> None:
        for program in (service.app, service.worker):
            program.terminate()
            await asyncio.to_thread(program.wait, seconds=IDLE_SECONDS)
        for server in (service.postgres, service.redis):
            await asyncio.to_thread(server.stop)
        service.app.start()
        service.worker.start()
        await asyncio.to_thread(service.app.wait_until, "/health/live")
        async with service.client() as client:
            assert (await client.get("/health/ready")).status_code == 503
            assert (await client.get("/api/v1/tokens")).status_code == 503
            await asyncio.to_thread(service.postgres.start)
            await asyncio.to_thread(service.app.wait_until, "/health/ready", seconds=3)
            assert (await client.get("/api/v1/tokens")).status_code == 200
            await asyncio.to_thread(service.redis.start)
            # The worker's heart beats again, too: the report is not even degraded.
            await asyncio.to_thread(wait_for, "all is well", lambda: is_well(service), seconds=5)


def is_well(service: Service) -> bool:
    answer: httpx.Response = service.get("/health")
    return answer.status_code == 200 and answer.json()["status"] == "ok"
