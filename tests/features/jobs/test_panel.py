"""The jobs on the page: who sees them, and the forms that change them."""

import httpx
import pytest

from app.features.jobs.panel import NEWEST
from app.features.jobs.scopes import JOBS_READ, JOBS_WRITE
from app.features.tokens.scopes import TOKENS_WRITE
from app.infra.jobs import JobState
from app.infra.lifespan import Resources
from tests.conftest import MakeToken
from tests.features.tokens.conftest import COOKIE
from tests.kept import Kept
from tests.pages import Page


async def look(client: httpx.AsyncClient) -> Page:
    return Page((await client.get("/")).text)


@pytest.fixture
async def operator(client: httpx.AsyncClient, make_session: MakeToken) -> httpx.AsyncClient:
    """Somebody who may see jobs and change them."""
    client.cookies[COOKIE] = await make_session(JOBS_READ, JOBS_WRITE)
    return client


class TestShown:
    """People with the scope see each job with its reason. Others see nothing of it."""

    async def test_to_strangers_and_without_the_scope(
        self, client: httpx.AsyncClient, kept: Kept, make_session: MakeToken
    ) -> None:
        kept.add(1)
        assert not (await look(client)).all("section", id="jobs")
        client.cookies[COOKIE] = await make_session(TOKENS_WRITE, JOBS_WRITE)
        assert not (await look(client)).all("section", id="jobs")

    async def test_to_operators(self, operator: httpx.AsyncClient, kept: Kept) -> None:
        failed = kept.add(1, reason="<b>The disk is full\x1b[2J")
        waiting = kept.add(2, JobState.QUEUED)
        page = await look(operator)
        assert f"render {failed.id} failed" in page.text
        assert "<b>The disk is full\\x1b[2J" in page.text
        assert not page.all("b")
        for job, changes in ((failed, ["retry", "cancel"]), (waiting, ["cancel"])):
            for change in ("retry", "cancel"):
                forms = page.forms(f"/page/jobs/{job.id}/{change}")
                assert len(forms) == (change in changes)

    async def test_to_readers_it_has_no_forms(
        self, client: httpx.AsyncClient, kept: Kept, make_session: MakeToken
    ) -> None:
        job = kept.add(1)
        client.cookies[COOKIE] = await make_session(JOBS_READ)
        page = await look(client)
        assert str(job.id) in page.text
        assert "/page/jobs/" not in str(page.elements)

    async def test_many_are_cut(self, operator: httpx.AsyncClient, kept: Kept) -> None:
        failed = kept.add(1)
        for number in range(2, NEWEST + 3):
            kept.add(number, JobState.QUEUED)
        page = await look(operator)
        assert str(failed.id) in page.text  # however many are newer
        assert page.text.count(" queued ") == NEWEST
        assert "Only the newest of each state." in page.text

    async def test_none_is_one_quiet_line(self, operator: httpx.AsyncClient, kept: Kept) -> None:
        kept.add(1, JobState.FINISHED)
        page = await look(operator)
        assert "Jobs No job waits, runs or has failed." in page.text

    async def test_without_a_feature_that_has_jobs_it_is_not_there(
        self, operator: httpx.AsyncClient, resources: Resources
    ) -> None:
        resources.jobs.clear()
        assert not (await look(operator)).all("section", id="jobs")


class TestForms:
    """A form changes a job once, and only from our own page."""

    async def test_cancel_and_run_again(self, operator: httpx.AsyncClient, kept: Kept) -> None:
        job = kept.add(1, JobState.RUNNING)
        for change in ("cancel", "retry"):
            (form,) = (await look(operator)).forms(f"/page/jobs/{job.id}/{change}")
            for _ in range(2):  # a double click
                answer = await operator.post(form.attributes["action"])
                assert (answer.status_code, answer.headers["location"]) == (303, "/#jobs")
        assert kept.done == ["cancel", "retry"]

    async def test_another_state_is_said(self, operator: httpx.AsyncClient, kept: Kept) -> None:
        job = kept.add(1, JobState.FINISHED)
        answer = await operator.post(f"/page/jobs/{job.id}/cancel")
        assert answer.status_code == 409
        assert "This job is finished already" in Page(answer.text).text

    @pytest.mark.parametrize("change", ["retry", "cancel"])
    async def test_another_site_changes_nothing(
        self, operator: httpx.AsyncClient, kept: Kept, change: str
    ) -> None:
        job = kept.add(1)
        headers = {"Origin": "http://evil.example"}
        answer = await operator.post(f"/page/jobs/{job.id}/{change}", headers=headers)
        assert answer.status_code == 403
        assert kept.done == []

    @pytest.mark.parametrize("change", ["retry", "cancel"])
    async def test_it_needs_a_session_with_both_scopes(
        self, client: httpx.AsyncClient, kept: Kept, make_session: MakeToken, change: str
    ) -> None:
        job = kept.add(1)
        assert (await client.post(f"/page/jobs/{job.id}/{change}")).status_code == 401
        for scope in (JOBS_READ, JOBS_WRITE):
            client.cookies[COOKIE] = await make_session(scope)
            assert (await client.post(f"/page/jobs/{job.id}/{change}")).status_code == 403
        assert kept.done == []

    @pytest.mark.parametrize("text", ["1", "%00", "..%2f..", "<b>"])
    async def test_what_is_no_id_is_refused(
        self, operator: httpx.AsyncClient, kept: Kept, text: str
    ) -> None:
        answer = await operator.post(f"/page/jobs/{text}/cancel")
        assert answer.status_code in {404, 422}
        assert not Page(answer.text).all("b")
