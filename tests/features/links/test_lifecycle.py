"""The life of an import: uploads that are abandoned, attempts, the end, and running it again."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import delete, func, select, update

from app.cli import main
from app.config import Settings
from app.features.links import lifecycle
from app.features.links.lifecycle import (
    ABANDONED_AFTER,
    MOST_ATTEMPTS,
    MOST_OPEN,
    PIECE,
    STALLED_AFTER,
    Stalled,
)
from app.features.links.models import Import, ImportPiece, ImportStatus
from app.features.links.tasks import purge
from app.infra.backlog import BacklogGauges
from app.infra.db import transaction
from app.infra.lifespan import Resources
from app.registry import FEATURES
from tests.conftest import MakeToken
from tests.features.links.conftest import IMPORTS
from tests.features.links.test_page import COOKIE
from tests.features.links.uploading import age, csv_of, result, upload, work
from tests.live import ROOT, Live, as_owner, run_service
from tests.pages import Page
from tests.problems import check_problem

ROW = "https://example.com/,one,,"


async def attempt(resources: Resources, job: dict[str, Any]) -> None:
    """What is left of an attempt whose worker dies at once."""
    async with transaction(resources.sessions) as session:
        assert await lifecycle.begin_attempt(session, import_id=UUID(job["id"])) is not None


async def taken(resources: Resources) -> list[Stalled]:
    async with transaction(resources.sessions) as session:
        return await lifecycle.take_stalled(session)


async def given_up(resources: Resources) -> list[UUID]:
    async with transaction(resources.sessions) as session:
        return await lifecycle.give_up(session)


async def fail(resources: Resources, job: dict[str, Any]) -> None:
    for _ in range(MOST_ATTEMPTS):
        await attempt(resources, job)
    await age(resources, job, timedelta(days=1))
    assert await given_up(resources) == [UUID(job["id"])]


class TestAttempts:
    """Each attempt without progress waits twice as long as the one before. The last one fails."""

    async def test_the_waits(self, live: Live) -> None:
        await live.sign_in()
        resources = live.resources
        job = await upload(live.client, ROW)
        for attempts, factor in ((0, 1), (1, 1), (2, 2), (3, 4), (4, 8)):
            await age(resources, job, STALLED_AFTER * factor - timedelta(seconds=10))
            assert await taken(resources) == []
            await age(resources, job, STALLED_AFTER * factor + timedelta(seconds=1))
            assert await taken(resources) == [(UUID(job["id"]), attempts)]
            assert await taken(resources) == []  # it is about to run
            await attempt(resources, job)
        assert await given_up(resources) == []  # the last attempt may make progress yet
        await age(resources, job, timedelta(days=1))
        assert await taken(resources) == []
        assert await given_up(resources) == [UUID(job["id"])]
        assert await given_up(resources) == []

    async def test_progress_starts_the_count_anew(
        self, api: httpx.AsyncClient, resources: Resources, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = await upload(api, ROW)
        for _ in range(MOST_ATTEMPTS - 1):
            await attempt(resources, job)

        async def die(*_: Any, **__: Any) -> bool:
            raise ConnectionError

        with monkeypatch.context() as patch:
            patch.setattr(lifecycle, "finish", die)
            with pytest.raises(ConnectionError):
                await work(resources, job)
        await age(resources, job, timedelta(days=1))
        assert await given_up(resources) == []
        assert await taken(resources) == [(UUID(job["id"]), 0)]
        await work(resources, job)
        assert (await result(api, job))["status"] == "finished"


class TestFailed:
    """A failed import says why, keeps its file, and runs again when a person asks for it."""

    async def test_over_the_api(self, api: httpx.AsyncClient, resources: Resources) -> None:
        job = await upload(api, ROW)
        retry = f"{IMPORTS}/{job['id']}/retry"
        waiting = await api.post(retry)
        assert (waiting.status_code, waiting.json()) == (202, job)
        await fail(resources, job)
        found = await result(api, job)
        assert found["status"] == "failed"
        assert found["failure"].startswith(
            "It was given up after 5 attempts without progress, at line 2 of the file."
        )
        await work(resources, job)  # a worker that comes late leaves it alone
        assert (await result(api, job))["status"] == "failed"
        again = await api.post(retry)
        assert (again.status_code, again.json()["status"]) == (202, "queued")
        await work(resources, job)
        found = await result(api, job)
        assert (found["status"], found["done"], found["failure"]) == ("finished", 1, None)
        assert (await api.post(retry)).json()["status"] == "finished"

    async def test_one_that_is_not_there(self, api: httpx.AsyncClient) -> None:
        answer = await api.post(f"{IMPORTS}/{UUID(int=1)}/retry")
        check_problem(answer, 404, "import_not_found")

    async def test_on_the_page(
        self, api: httpx.AsyncClient, resources: Resources, make_session: MakeToken
    ) -> None:
        job = await upload(api, ROW)
        api.cookies[COOKIE] = await make_session()
        await fail(resources, job)
        address = f"/page/imports/{job['id']}"
        page = Page((await api.get(address)).text)
        assert "Import failed" in page.text
        assert "given up after 5 attempts" in page.text
        assert "data-live" not in page.one("body").attributes
        form = page.one("form", action=f"{address}/retry")
        answer = await api.post(form.attributes["action"])
        assert (answer.status_code, answer.headers["location"]) == (303, address)
        assert "It waits for the worker." in Page((await api.get(address)).text).text

    async def test_operators_see_it(self, api: httpx.AsyncClient, resources: Resources) -> None:
        await upload(api, ROW)
        job = await upload(api, ROW)
        await fail(resources, job)
        gauges = BacklogGauges(resources, FEATURES)
        await gauges.look()
        read = resources.metrics.registry.get_sample_value
        for state in ("failed", "queued"):
            labels = {"task": "import", "state": state}
            assert read("drydock_jobs", labels) == 1
            age_in_seconds = read("drydock_jobs_oldest_seconds", labels)
            assert age_in_seconds is not None
            assert age_in_seconds >= 0


class TestCommand:
    """`python -m app jobs` counts the jobs of each state."""

    async def test_it_prints_a_line_for_each(
        self, live: Live, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DATABASE_URL", live.resources.settings.database_dsn)
        monkeypatch.setenv("REDIS_URL", live.resources.settings.redis_dsn)
        assert await asyncio.to_thread(main, ["jobs"]) == 0
        assert capsys.readouterr().out == "No job waits, runs or has failed.\n"
        await live.sign_in()
        await upload(live.client, ROW)
        assert await asyncio.to_thread(main, ["jobs"]) == 0
        _, line, *_ = capsys.readouterr().out.splitlines()
        name, state, number, *_ = line.split()
        assert (name, state, number) == ("import", "queued", "1")


class TestUploads:
    """A file arrives in pieces. One that stops arriving leaves nothing behind."""

    async def test_a_large_one(self, api: httpx.AsyncClient, resources: Resources) -> None:
        lines = [f"https://example.com/{number}/{'x' * 500},,," for number in range(2000)]
        source = csv_of(*lines)
        answer = await api.post(IMPORTS, files={"file": ("links.csv", source, "text/csv")})
        job = answer.json()
        async with transaction(resources.sessions) as session:
            query = select(ImportPiece.content).order_by(ImportPiece.number)
            pieces = list(await session.scalars(query))
        assert [len(piece) for piece in pieces[:-1]] == [PIECE] * (len(source) // PIECE)
        assert b"".join(pieces) == source
        await work(resources, job)
        assert (await result(api, job))["done"] == 2000

    async def test_one_that_was_abandoned(
        self, api: httpx.AsyncClient, resources: Resources
    ) -> None:
        job = await upload(api, ROW)
        for created, left in ((ABANDONED_AFTER / 2, 1), (ABANDONED_AFTER * 2, 0)):
            async with transaction(resources.sessions) as session:
                await session.execute(
                    update(Import).values(
                        status=ImportStatus.UPLOADING, updated_at=datetime.now(UTC) - created
                    )
                )
            await work(resources, job)  # does nothing
            await purge({"resources": resources})
            async with transaction(resources.sessions) as session:
                assert await session.scalar(select(func.count(ImportPiece.number))) == left

    async def test_a_token_has_a_limited_number_of_open_ones(
        self, api: httpx.AsyncClient, resources: Resources
    ) -> None:
        jobs = [await upload(api, ROW) for _ in range(MOST_OPEN)]
        csv = {"Content-Type": "text/csv"}
        refused = await api.post(IMPORTS, content=csv_of(ROW), headers=csv)
        problem = check_problem(refused, 429, "too_many_imports")
        assert f"{MOST_OPEN} imports" in problem["detail"]
        assert int(refused.headers["retry-after"]) >= 1
        await work(resources, jobs[0])
        await fail(resources, jobs[1])
        for _ in range(2):
            await upload(api, ROW)


class TestVersionBefore:
    """An import that the version before has stored is finished; the way back loses none."""

    async def test_its_file_is_one_piece(self, live: Live) -> None:
        await live.sign_in()
        rows = [f"https://example.com/{number}/{'x' * 500},,," for number in range(2000)]
        job = await upload(live.client, *rows)
        async with transaction(live.resources.sessions) as session:
            await session.execute(update(Import).values(source=csv_of(*rows)))
            await session.execute(delete(ImportPiece))
        await work(live.resources, job)
        found = await result(live.client, job)
        assert (found["status"], found["done"]) == ("finished", 2000)

    async def test_the_way_back(self, own_settings: Settings) -> None:
        config = Config(toml_file=ROOT / "pyproject.toml")
        config.attributes["settings"] = as_owner(own_settings)
        async with run_service(own_settings) as live:
            await live.sign_in()
            jobs = [await upload(live.client, f"https://example.com/,row-{n},,") for n in range(2)]
            await fail(live.resources, jobs[0])
        await asyncio.to_thread(command.downgrade, config, "0010")
        await asyncio.to_thread(command.upgrade, config, "head")
        async with run_service(own_settings) as live:
            await live.sign_in()
            for job in jobs:
                await work(live.resources, job)
                assert (await result(live.client, job))["status"] == "finished"
