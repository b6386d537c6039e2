"""An import's progress as server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import Request
from sqlalchemy import delete

from app.features.links import progress
from app.features.links.models import Import
from app.features.links.progress import LIMIT, stream_progress
from app.features.links.runtime import runtime_of
from app.features.tokens.service import id_in
from app.infra.db import transaction
from app.infra.lifespan import Resources
from tests.conftest import MakeToken
from tests.features.links.conftest import IMPORTS
from tests.features.links.uploading import upload, work
from tests.live import Live
from tests.problems import check_problem
from tests.statements import counted_statements

EVENTS = {"Accept": "text/event-stream"}


def parse(event: str) -> tuple[str, dict[str, Any]]:
    """An event's name and data, as a browser reads them."""
    fields = dict(line.split(": ", 1) for line in event.strip().splitlines())
    data: dict[str, Any] = json.loads(fields["data"])
    return fields["event"], data


def request_of(resources: Resources, token: str) -> Request:
    headers = [(b"authorization", f"Bearer {token}".encode())]
    state = {"resources": resources}
    return Request({"type": "http", "headers": headers, "client": ("::1", 1), "state": state})


async def events(
    resources: Resources, job: dict[str, Any], token: str
) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    request = request_of(resources, token)
    streams = runtime_of(resources).streams
    answer = await stream_progress(request, streams, import_id=UUID(job["id"]))
    async for chunk in answer.body_iterator:
        assert isinstance(chunk, bytes)
        yield parse(chunk.decode())


@pytest.fixture
async def token(make_token: MakeToken) -> str:
    return await make_token()


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LOOK_EVERY", 0.01)


class TestStream:
    """A client that accepts events gets one at each change and one at the end."""

    async def test_from_the_beginning_to_the_end(
        self, api: httpx.AsyncClient, resources: Resources, token: str
    ) -> None:
        job = await upload(api, "https://example.com/,one,,", "bad,,,")
        told = events(resources, job, token)
        assert await anext(told) == ("progress", job)
        await work(resources, job)
        expected = {**job, "status": "finished", "done": 1, "failed": 1}
        assert await anext(told) == ("finished", expected)
        with pytest.raises(StopAsyncIteration):
            await anext(told)

    async def test_what_does_not_change_is_told_once(
        self,
        api: httpx.AsyncClient,
        resources: Resources,
        token: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        job = await upload(api, "https://example.com/,one,,")
        monkeypatch.setattr(progress, "LONGEST_STREAM", 0.3)
        assert [told async for told in events(resources, job, token)] == [("progress", job)]

    async def test_over_http(self, api: httpx.AsyncClient, resources: Resources) -> None:
        job = await upload(api, "https://example.com/,one,,")
        await work(resources, job)
        answer = await api.get(f"{IMPORTS}/{job['id']}", headers=EVENTS)
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-accel-buffering"] == "no"
        name, data = parse(answer.text)
        assert (name, data["done"]) == ("finished", 1)
        assert "retry: 1000" in answer.text
        unknown = await api.get(f"{IMPORTS}/{uuid4()}", headers=EVENTS)
        check_problem(unknown, 404, "import_not_found")


class TestEnd:
    """A stream ends with its token, and with its import."""

    async def test_a_revoked_token(
        self, api: httpx.AsyncClient, resources: Resources, token: str
    ) -> None:
        job = await upload(api, "https://example.com/,one,,")
        told = events(resources, job, token)
        await anext(told)
        own = id_in(token)
        assert (await api.delete(f"/api/v1/tokens/{own}")).status_code == 204
        with pytest.raises(StopAsyncIteration):
            await anext(told)

    async def test_a_purged_import(
        self, api: httpx.AsyncClient, resources: Resources, token: str
    ) -> None:
        job = await upload(api, "https://example.com/,one,,")
        told = events(resources, job, token)
        await anext(told)
        async with transaction(resources.sessions) as session:
            await session.execute(delete(Import))
        with pytest.raises(StopAsyncIteration):
            await anext(told)


class TestBounds:
    """A token has a limited number of streams. All of them share their queries."""

    async def test_one_too_many_is_refused(
        self, api: httpx.AsyncClient, resources: Resources, token: str
    ) -> None:
        job = await upload(api, "https://example.com/,one,,")
        api.headers["Authorization"] = f"Bearer {token}"
        with ExitStack() as opened:
            for _ in range(LIMIT.most_of_a_token):
                opened.enter_context(runtime_of(resources).streams.places.taken(UUID(id_in(token))))
            answer = await api.get(f"{IMPORTS}/{job['id']}", headers=EVENTS)
        problem = check_problem(answer, 429, "too_many_streams")
        assert f"{LIMIT.most_of_a_token} event streams" in problem["detail"]

    async def test_all_streams_share_a_query(self, live: Live) -> None:
        await live.sign_in()
        token = live.client.headers["Authorization"].removeprefix("Bearer ")
        jobs = [await upload(live.client, f"https://example.com/,row-{n},,") for n in range(3)]
        told = [events(live.resources, jobs[n % 3], token) for n in range(30)]
        await asyncio.gather(*(anext(one) for one in told))
        for job in jobs:
            await work(live.resources, job)
        with counted_statements() as statements:
            ends = await asyncio.gather(*(anext(one) for one in told))
        assert {name for name, _ in ends} == {"finished"}
        looks = [text for text in statements if "FROM imports" in text]
        assert len(looks) <= 3  # one, and another if the clock struck in between
