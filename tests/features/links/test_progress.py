"""An import's progress as server-sent events."""

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from app.features.links import progress
from app.features.links.progress import stream_progress
from app.infra.lifespan import Resources
from tests.features.links.conftest import IMPORTS
from tests.features.links.uploading import upload, work
from tests.problems import check_problem

EVENTS = {"Accept": "text/event-stream"}


def parse(event: str) -> tuple[str, dict[str, Any]]:
    """An event's name and data, as a browser reads them."""
    fields = dict(line.split(": ", 1) for line in event.strip().splitlines())
    data: dict[str, Any] = json.loads(fields["data"])
    return fields["event"], data


async def events(
    resources: Resources, job: dict[str, Any]
) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    answer = stream_progress(resources.sessions, import_id=UUID(job["id"]))
    async for chunk in answer.body_iterator:
        assert isinstance(chunk, bytes)
        yield parse(chunk.decode())


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LOOK_EVERY", 0.01)


class TestStream:
    """A client that accepts events gets one at each change and one at the end."""

    async def test_from_the_beginning_to_the_end(
        self, api: httpx.AsyncClient, resources: Resources
    ) -> None:
        job = await upload(api, "https://example.com/,one,,", "bad,,,")
        told = events(resources, job)
        assert await anext(told) == ("progress", job)
        await work(resources, job)
        expected = {**job, "status": "finished", "done": 1, "failed": 1}
        assert await anext(told) == ("finished", expected)
        with pytest.raises(StopAsyncIteration):
            await anext(told)

    async def test_what_does_not_change_is_told_once(
        self, api: httpx.AsyncClient, resources: Resources, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = await upload(api, "https://example.com/,one,,")
        monkeypatch.setattr(progress, "LONGEST_STREAM", 0.3)
        assert [told async for told in events(resources, job)] == [("progress", job)]

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
