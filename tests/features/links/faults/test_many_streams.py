"""Hundreds of event streams of one token: they take neither the pool nor a place for ever."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from functools import partial

import httpx
import pytest

from app.features.links.progress import LIMIT
from tests.features.links.faults.uploads import generated, upload
from tests.polling import eventually
from tests.service import Service

STREAMS = 300
EVENTS = {"Accept": "text/event-stream"}
# A stream may last 20 s. It ends within the half second between two looks, the second that a token
# is trusted, and what a slow machine needs.
ENDED_SECONDS = 10.0


async def open_stream(client: httpx.AsyncClient, path: str, opened: AsyncExitStack) -> int:
    request = client.build_request("GET", path, headers=EVENTS)
    answer = await client.send(request, stream=True)
    opened.push_async_callback(answer.aclose)
    return answer.status_code


async def until_over(client: httpx.AsyncClient, path: str) -> None:
    async with client.stream("GET", path, headers=EVENTS) as answer:
        assert answer.status_code == 200
        async for _ in answer.aiter_bytes():
            pass


class TestManyStreams:
    """Most are refused with 429, all others are served, and the API answers as before."""

    @pytest.mark.timeout(120)
    async def test_of_one_token(self, service: Service) -> None:
        service.worker.kill()  # so that the import stays as it is
        limits = httpx.Limits(max_connections=STREAMS + 10)
        async with (
            httpx.AsyncClient(
                base_url=service.app.url,
                headers=service.app.authorization,
                timeout=60,
                limits=limits,
                verify=False,
            ) as client,
            AsyncExitStack() as opened,
        ):
            path = await upload(client, generated("watched", 10))
            opening = (open_stream(client, path, opened) for _ in range(STREAMS))
            statuses = Counter(await asyncio.gather(*opening))
            assert set(statuses) <= {200, 429, 503}  # 503: more requests than an address may have
            assert statuses[200] == LIMIT.most_of_a_token
            assert statuses[429] > STREAMS / 3
            answers = await asyncio.gather(*(client.get("/api/v1/links") for _ in range(50)))
            assert {answer.status_code for answer in answers} == {200}
            await opened.aclose()

            # The clients have gone away, so their places are free.
            async def free() -> bool:
                async with AsyncExitStack() as again:
                    return await open_stream(client, path, again) == 200

            await eventually("a place is free", free)

    async def test_they_end_with_their_token(self, service: Service) -> None:
        service.worker.kill()
        async with service.client() as owner:
            path = await upload(owner, generated("left", 10))
            body = {"name": "reader", "scopes": ["links:read"]}
            made = (await owner.post("/api/v1/tokens", json=body)).json()
            reader = httpx.AsyncClient(
                base_url=service.app.url,
                headers={"Authorization": f"Bearer {made['token']}"},
                verify=False,
                timeout=60,
            )
            async with reader, asyncio.timeout(60):
                streams = [asyncio.create_task(until_over(reader, path)) for _ in range(5)]
                await asyncio.sleep(1)
                revoke = partial(owner.delete, f"/api/v1/tokens/{made['id']}")
                assert (await revoke()).status_code == 204
                async with asyncio.timeout(ENDED_SECONDS):
                    await asyncio.gather(*streams)
