"""The worker: imports that were interrupted, lost jobs, and the loop that counts clicks."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from app.features.links import lifecycle, tasks
from app.features.links.cache import STREAM
from app.features.links.csvfile import CsvReader
from app.features.links.imports import apply_batch
from app.features.links.lifecycle import begin_attempt, load_piece
from app.features.links.tasks import resume_imports, roll_up_clicks, run_import
from app.infra.db import transaction
from app.infra.feature import Task
from app.infra.lifespan import Resources
from app.infra.queue import make_queue
from tests.features.links.conftest import LINKS
from tests.features.links.counting import append, counts, id_of
from tests.features.links.uploading import age, result, upload, work
from tests.live import Live, redis_admin
from tests.logs import captured_logs, named
from tests.polling import eventually

ROWS = [f"https://example.com/{number},link-{number},," for number in range(5)]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "BATCH", 2)


async def do_first_batch(resources: Resources, job: dict[str, Any]) -> None:
    """What a worker has done when it dies after its first batch."""
    job_id = UUID(job["id"])
    async with transaction(resources.sessions) as session:
        assert await begin_attempt(session, import_id=job_id) == 2
        piece = await load_piece(session, import_id=job_id, number=0)
        rows = list(CsvReader().rows(piece or b"", last=True))[:2]
        assert await apply_batch(session, import_id=job_id, rows=rows)


class TestImport:
    """An interrupted import continues where it stopped. Two workers do each row once."""

    async def test_it_goes_on_where_it_was(
        self, api: httpx.AsyncClient, resources: Resources
    ) -> None:
        job = await upload(api, *ROWS[:3], "bad,,,", ROWS[4])
        await do_first_batch(resources, job)
        found = await result(api, job)
        assert (found["status"], found["done"], found["total"]) == ("running", 2, 5)
        # If the first rows were done again, this one would come back.
        assert (await api.delete(f"{LINKS}/link-0")).status_code == 204
        await work(resources, job)
        found = await result(api, job)
        assert (found["status"], found["done"], found["failed"]) == ("finished", 4, 1)
        assert [fault["row"] for fault in found["errors"]] == [5]
        assert (await api.get(f"{LINKS}/link-0")).status_code == 404

    @pytest.mark.parametrize(("overtake", "done"), [(do_first_batch, 2), (work, 5)])
    async def test_a_worker_that_falls_behind_another_stops(
        self,
        api: httpx.AsyncClient,
        resources: Resources,
        monkeypatch: pytest.MonkeyPatch,
        overtake: Callable[[Resources, dict[str, Any]], Awaitable[None]],
        done: int,
    ) -> None:
        """Its job was given to another worker, because it seemed to be dead."""
        job = await upload(api, *ROWS)
        begin = begin_attempt

        async def begin_and_be_overtaken(*args: Any, **kwargs: Any) -> Any:
            start = await begin(*args, **kwargs)
            monkeypatch.setattr(lifecycle, "begin_attempt", begin)
            await overtake(resources, job)
            return start

        monkeypatch.setattr(lifecycle, "begin_attempt", begin_and_be_overtaken)
        with captured_logs() as events:
            await work(resources, job)
        assert named(events, "import_is_done_elsewhere")
        assert (await result(api, job))["done"] == done

    async def test_one_that_is_finished_or_unknown_is_no_error(
        self, api: httpx.AsyncClient, resources: Resources
    ) -> None:
        job = await upload(api, *ROWS)
        await work(resources, job)
        before = await result(api, job)
        await work(resources, job)
        await run_import({"resources": resources}, import_id=str(uuid4()))
        assert await result(api, job) == before

    async def test_a_slug_that_was_looked_up_before_redirects_at_once(
        self, api: httpx.AsyncClient, resources: Resources
    ) -> None:
        job = await upload(api, *ROWS)
        for number in range(5):
            assert (await api.get(f"/link-{number}")).status_code == 404
        await work(resources, job)
        for number in range(5):
            assert (await api.get(f"/link-{number}")).status_code == 302


async def enqueued(resources: Resources) -> list[str]:
    """The imports that a worker would take up, in order."""
    queue = make_queue(resources.redis)
    found = []
    while await queue.count("queued"):
        # None if Redis took too long, on a loaded machine.
        if (job := await queue.dequeue(timeout=1)) and job.kwargs is not None:
            found.append(job.kwargs["import_id"])
    return found


@asynccontextmanager
async def looping(loop: Task, resources: Resources) -> AsyncIterator[None]:
    """Run one of the worker's loops for the length of a block."""
    task = asyncio.ensure_future(loop(resources))
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class TestResume:
    """An import without progress is enqueued again, once. One with progress is not."""

    async def test_only_what_stands_still(self, live: Live) -> None:
        await live.sign_in()
        jobs = [await upload(live.client, row) for row in ROWS[:3]]
        _moving, stalled, finished = jobs
        await work(live.resources, finished)
        for job in (stalled, finished):
            await age(live.resources, job, lifecycle.STALLED_AFTER + timedelta(seconds=5))
        assert await enqueued(live.resources) == [job["id"] for job in jobs]
        with redis_admin(live.resources.settings) as admin:
            admin.flushdb()  # which loses the jobs
        for expected in ([stalled["id"]], []):
            with captured_logs() as events:
                async with looping(resume_imports, live.resources):

                    async def resumed() -> bool:
                        return bool(named(events, "import_resumed"))

                    # The loop looks at once, and then again in a while.
                    await asyncio.sleep(0.5)
                    if expected:
                        await eventually("resumed", resumed)
            assert [event["import_id"] for event in named(events, "import_resumed")] == expected
            assert await enqueued(live.resources) == expected


class TestRollUp:
    """The loop counts new entries of the stream, and trims it."""

    @pytest.fixture
    async def link_id(self, live: Live) -> UUID:
        await live.sign_in()
        link = {"url": "https://example.com/", "slug": "deck"}
        assert (await live.client.post(LINKS, json=link)).status_code == 201
        return await id_of(live.resources, "deck")

    async def test_it_counts_without_end(self, live: Live, link_id: UUID) -> None:
        async with looping(roll_up_clicks, live.resources):
            for total in (1, 2):
                await append(live.resources, link_id, 1)
                await eventually("a count", partial(has_counted, live, total), seconds=20)

    async def test_its_lag_grows_only_while_it_stands_still(
        self, live: Live, link_id: UUID
    ) -> None:
        registry = live.resources.metrics.registry

        def lag() -> float:
            return registry.get_sample_value("drydock_clicks_lag_seconds") or 0.0

        async def has_begun() -> bool:
            return lag() > 0

        async def has_fallen() -> bool:
            return lag() < stood

        assert lag() == 0  # of a process that counts nothing
        async with looping(roll_up_clicks, live.resources):
            await eventually("a lag", has_begun, seconds=20)
        begin = lag()
        await asyncio.sleep(0.2)
        assert lag() >= begin + 0.2
        stood = lag()
        async with looping(roll_up_clicks, live.resources):
            await append(live.resources, link_id, 1)
            await eventually("a count", partial(has_counted, live, 1), seconds=20)
            await eventually("a lag that has fallen", has_fallen, seconds=20)

    async def test_it_trims_what_is_old(self, live: Live, link_id: UUID) -> None:
        for at in ("1-0", "2-0", "3-0"):
            await append(live.resources, link_id, 1, at=at)
        async with looping(roll_up_clicks, live.resources):
            await eventually("a short stream", partial(is_short, live), seconds=20)
        assert await counts(live.resources) == {link_id: 3}


async def has_counted(live: Live, total: int) -> bool:
    return sum((await counts(live.resources)).values()) == total


async def is_short(live: Live) -> bool:
    return int(await live.resources.redis.xlen(STREAM)) == 1
