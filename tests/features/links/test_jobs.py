"""Imports as jobs: seen, cancelled while the worker is at them, run again; at the same moment."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import update

from app.cli import main
from app.features.links import imports, lifecycle, tasks
from app.features.links.csvfile import CsvReader
from app.features.links.models import Import, ImportStatus
from app.infra.backlog import load_backlog
from app.infra.db import reading, transaction
from app.infra.lifespan import Resources
from app.infra.queue import make_queue
from app.registry import FEATURES
from tests.features.links.conftest import IMPORTS, LINKS
from tests.features.links.test_lifecycle import fail
from tests.features.links.uploading import age, result, upload, work
from tests.live import Live, redis_admin
from tests.problems import check_problem

JOBS = "/api/v1/jobs"
ROWS = [f"https://example.com/{number},link-{number},," for number in range(5)]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "BATCH", 2)


async def change(api: httpx.AsyncClient, job: dict[str, Any], what: str) -> httpx.Response:
    return await api.post(f"{JOBS}/{job['id']}/{what}")


async def states(api: httpx.AsyncClient) -> dict[str, str]:
    return {job["id"]: job["state"] for job in (await api.get(JOBS)).json()["items"]}


async def slugs(api: httpx.AsyncClient) -> set[str]:
    return {link["slug"] for link in (await api.get(LINKS)).json()["items"]}


def forget_jobs(live: Live) -> None:
    with redis_admin(live.resources.settings) as admin:
        admin.flushdb()


async def waiting(resources: Resources) -> int:
    """How many jobs wait in Redis."""
    return await make_queue(resources.redis).count("queued")


class TestList:
    """Imports that wait, run, have failed or were cancelled."""

    async def test_each_state(self, api: httpx.AsyncClient, resources: Resources) -> None:
        finished, failed, cancelled, running, queued, arriving = [
            await upload(api, ROWS[0]) for _ in range(6)
        ]
        await work(resources, finished)
        await fail(resources, failed)
        await change(api, cancelled, "cancel")
        async with transaction(resources.sessions) as session:
            await lifecycle.begin_attempt(session, import_id=UUID(running["id"]))
            await session.execute(
                update(Import)
                .where(Import.id == UUID(arriving["id"]))
                .values(status=ImportStatus.UPLOADING)
            )
        assert await states(api) == {
            failed["id"]: "failed",
            cancelled["id"]: "cancelled",
            running["id"]: "running",
            queued["id"]: "queued",
        }
        check_problem(await change(api, arriving, "cancel"), 404, "job_not_found")
        for what in ("retry", "cancel"):
            check_problem(await change(api, finished, what), 409, "job_state_unfit")
        (job,) = (await api.get(JOBS, params={"state": "failed"})).json()["items"]
        assert job["reason"].startswith("It was given up after 5 attempts without progress")

    async def test_a_cancelled_one_raises_no_alert(
        self, api: httpx.AsyncClient, resources: Resources
    ) -> None:
        for job in [await upload(api, ROWS[0]) for _ in range(2)]:
            await fail(resources, job)
        await change(api, job, "cancel")
        async with reading(resources.sessions) as session:
            counts = await load_backlog(session, FEATURES)
        assert [(count.state, count.number) for count in counts] == [("failed", 1)]


class TestCancel:
    """A cancelled import stops at its next batch. What it has imported stays, and is said."""

    async def test_before_it_runs(self, api: httpx.AsyncClient, resources: Resources) -> None:
        job = await upload(api, *ROWS)
        answer = await change(api, job, "cancel")
        assert answer.status_code == 200
        assert answer.json()["state"] == "cancelled"
        await work(resources, job)
        await age(resources, job, timedelta(days=1))
        async with transaction(resources.sessions) as session:
            assert await lifecycle.take_stalled(session) == []
        found = await result(api, job)
        assert (found["status"], found["done"]) == ("failed", 0)
        assert found["failure"] == answer.json()["reason"]
        assert found["failure"] == "It was cancelled after 0 of 5 rows. What was imported stays."
        assert await slugs(api) == set()

    async def test_between_two_batches(self, live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
        await live.sign_in()
        job = await upload(live.client, *ROWS)
        apply, answers = imports.apply_batch, []

        async def cancel_before_the_second(*args: Any, **kwargs: Any) -> Any:
            if kwargs["rows"][0].number > 2:
                answers.append(await change(live.client, job, "cancel"))
            return await apply(*args, **kwargs)

        monkeypatch.setattr(imports, "apply_batch", cancel_before_the_second)
        await work(live.resources, job)
        (answer,) = answers  # it has not begun the third
        assert answer.json()["reason"].startswith("It was cancelled after 2 of 5 rows.")
        found = await result(live.client, job)
        assert (found["status"], found["done"]) == ("failed", 2)
        assert await slugs(live.client) == {"link-0", "link-1"}

    async def test_during_a_batch_it_waits_for_the_commit(self, live: Live) -> None:
        await live.sign_in()
        job = await upload(live.client, *ROWS)
        job_id = UUID(job["id"])
        async with transaction(live.resources.sessions) as session:
            assert await lifecycle.begin_attempt(session, import_id=job_id) == 2
        async with transaction(live.resources.sessions) as session:
            piece = await lifecycle.load_piece(session, import_id=job_id, number=0)
            rows = list(CsvReader().rows(piece or b"", last=True))[:2]
            assert await imports.apply_batch(session, import_id=job_id, rows=rows)
            cancelling = asyncio.create_task(change(live.client, job, "cancel"))
            done, _ = await asyncio.wait([cancelling], timeout=0.3)
            assert not done
        answer = await cancelling
        assert answer.json()["reason"].startswith("It was cancelled after 2 of 5 rows.")
        await work(live.resources, job)
        assert await slugs(live.client) == {"link-0", "link-1"}

    async def test_it_goes_on_when_it_is_run_again(self, live: Live) -> None:
        await live.sign_in()
        job = await upload(live.client, *ROWS)
        await change(live.client, job, "cancel")
        answer = await change(live.client, job, "retry")
        assert (answer.status_code, answer.json()["state"]) == (202, "queued")
        assert answer.json()["reason"] is None
        await work(live.resources, job)
        found = await result(live.client, job)
        assert (found["status"], found["done"], found["failure"]) == ("finished", 5, None)
        assert await states(live.client) == {}


class TestAtOnce:
    """Of changes at the same moment exactly one succeeds. The others are told why."""

    @pytest.mark.parametrize(("what", "status"), [("retry", 202), ("cancel", 200)])
    async def test_the_same_change(self, live: Live, what: str, status: int) -> None:
        await live.sign_in()
        job = await upload(live.client, *ROWS)
        if what == "retry":
            await fail(live.resources, job)
            forget_jobs(live)
        async with transaction(live.resources.sessions) as session:
            await session.get(Import, UUID(job["id"]), with_for_update=True)
            changes = [asyncio.create_task(change(live.client, job, what)) for _ in range(5)]
            done, _ = await asyncio.wait(changes, timeout=0.3)
            assert not done  # all have begun, and none has decided
        answers = await asyncio.gather(*changes)
        assert sorted(answer.status_code for answer in answers) == [status, 409, 409, 409, 409]
        if what == "retry":
            assert await waiting(live.resources) == 1

    async def test_both_changes_of_a_failed_one(self, live: Live) -> None:
        await live.sign_in()
        job = await upload(live.client, *ROWS)
        await fail(live.resources, job)
        answers = await asyncio.gather(
            change(live.client, job, "retry"), change(live.client, job, "cancel")
        )
        assert all(answer.is_success for answer in answers)  # in either order both are allowed
        state = (await states(live.client))[job["id"]]
        assert state in {"queued", "cancelled"}
        await work(live.resources, job)
        ended = {"queued": "finished", "cancelled": "failed"}[state]
        assert (await result(live.client, job))["status"] == ended

    async def test_a_cancel_and_the_end(self, live: Live) -> None:
        """Either all rows are imported, or the answer says how many were."""
        await live.sign_in()
        for _ in range(5):
            job = await upload(live.client, *ROWS)
            answer, _ = await asyncio.gather(
                change(live.client, job, "cancel"), work(live.resources, job)
            )
            found = await result(live.client, job)
            if answer.status_code == 409:
                assert (found["status"], found["done"]) == ("finished", 5)
            else:
                assert found["status"] == "failed"
                assert f"after {found['done']} of 5 rows" in answer.json()["reason"]


class TestCommand:
    """An operator runs an import again, or cancels it, without a token."""

    async def test_both(
        self, live: Live, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DATABASE_URL", live.resources.settings.database_dsn)
        monkeypatch.setenv("REDIS_URL", live.resources.settings.redis_dsn)
        await live.sign_in()
        job = await upload(live.client, *ROWS)
        before = await waiting(live.resources)
        assert await asyncio.to_thread(main, ["jobs", "--cancel", job["id"]]) == 0
        assert f"import {job['id']} is cancelled now." in capsys.readouterr().out
        await fail(live.resources, other := await upload(live.client, *ROWS))
        assert await asyncio.to_thread(main, ["jobs"]) == 0
        listed = capsys.readouterr().out
        assert f"cancelled import {job['id']}" in listed
        assert f"failed import {other['id']}" in listed
        assert "  It was given up after 5 attempts without progress" in listed
        forget_jobs(live)
        assert before == 1
        assert await asyncio.to_thread(main, ["jobs", "--retry", other["id"]]) == 0
        assert await waiting(live.resources) == 1  # the worker need not look for it
        assert (await live.client.get(f"{IMPORTS}/{other['id']}")).json()["status"] == "queued"
