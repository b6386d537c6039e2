"""Attacks with one token on the production stack. None restarts a container, or costs it memory."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import partial

import httpx
import pytest

from app.features.links.progress import LIMIT as STREAMS
from app.features.links.runtime import UPLOADS
from tests.polling import until
from tests.stack.images import Images
from tests.stack.memory import memory, uses_less
from tests.stack.stack import Stack

IMPORTS = "/api/v1/imports"
CSV = {"Content-Type": "text/csv"}
EVENTS = {"Accept": "text/event-stream"}
ATTACKED = ("app", "worker")
LARGE = b"url\n" + b"https://example.com/".ljust(1999, b"x") + b"\n"
LARGE += LARGE[4:] * (9_900_000 // 2000 - 1)  # one link, again and again
READERS = 300

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module", autouse=True)
def unharmed(stack: Stack, images: Images, api: httpx.Client) -> Iterator[None]:
    """After the tests no container has restarted, and memory is back within 20 percent."""
    finished(api, upload(api))  # code and buffers that are needed only once
    starts = stack.starts()
    before = {service: memory(stack, images, service) for service in ATTACKED}
    yield
    assert stack.starts() == starts
    for service in ATTACKED:
        until(partial(uses_less, stack, images, service, 1.2 * before[service]), within=60, every=2)
    with stack.client() as client:
        assert client.get("/health").status_code == 200


def upload(api: httpx.Client) -> httpx.Response:
    return api.post(IMPORTS, content=LARGE, headers=CSV, timeout=60)


def finished(api: httpx.Client, answer: httpx.Response) -> None:
    assert answer.status_code == 202, answer.text
    path = answer.headers["location"]
    until(lambda: api.get(path).json()["status"] == "finished", within=60, every=0.5)


def test_large_uploads(stack: Stack, api: httpx.Client) -> None:
    """Six at once, then ten in sequence, killed the app and its worker before."""
    client = httpx.AsyncClient(
        base_url=stack.url, headers={**api.headers, **CSV}, verify=False, timeout=120
    )

    async def at_once() -> list[httpx.Response]:
        async with client:
            return await asyncio.gather(*(client.post(IMPORTS, content=LARGE) for _ in range(6)))

    answers = asyncio.run(at_once())
    assert {answer.status_code for answer in answers} <= {202, 429}
    stored = [answer for answer in answers if answer.status_code == 202]
    assert len(stored) >= UPLOADS.most_of_a_token
    stored += [upload(api) for _ in range(10)]
    for answer in stored:
        finished(api, answer)


def test_hundreds_of_event_streams(stack: Stack, api: httpx.Client) -> None:
    """They emptied the pool of connections before."""
    worker = stack.container("worker")
    worker.pause()
    try:
        path = upload(api).headers["location"]
        statuses = asyncio.run(open_streams(stack, api, path))
    finally:
        worker.unpause()
    assert set(statuses) <= {200, 429, 503}
    assert statuses[200] == STREAMS.most_of_a_token
    assert statuses[429] > 0


async def open_streams(stack: Stack, api: httpx.Client, path: str) -> Counter[int]:
    async with AsyncExitStack() as opened:
        client = await opened.enter_async_context(
            httpx.AsyncClient(
                base_url=stack.url,
                headers=api.headers,
                verify=False,
                timeout=30,
                limits=httpx.Limits(max_connections=READERS + 5),
            )
        )

        async def open_one() -> int:
            request = client.build_request("GET", path, headers=EVENTS)
            answer = await client.send(request, stream=True)
            opened.push_async_callback(answer.aclose)
            return answer.status_code

        statuses = Counter(await asyncio.gather(*(open_one() for _ in range(READERS))))
        answers = [await client.get("/api/v1/links") for _ in range(20)]
        assert {answer.status_code for answer in answers} == {200}
        return statuses
