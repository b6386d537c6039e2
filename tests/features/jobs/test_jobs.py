"""/api/v1/jobs: the jobs of all features, run again and cancelled."""

from typing import Any
from uuid import UUID

import httpx
import pytest

from app.features.jobs.scopes import JOBS_READ, JOBS_WRITE
from app.infra.jobs import JobState
from app.infra.lifespan import Resources
from tests.conftest import MakeToken
from tests.features.jobs.conftest import JOBS
from tests.infra.test_audit import security
from tests.kept import Kept
from tests.logs import captured_logs
from tests.problems import check_problem


def ids(answer: httpx.Response) -> list[int]:
    assert answer.status_code == 200, answer.text
    return [UUID(job["id"]).int for job in answer.json()["items"]]


class TestList:
    """The jobs of all features that have not finished, newest first."""

    async def test_what_a_job_shows(self, api: httpx.AsyncClient, kept: Kept) -> None:
        made = kept.add(1)
        (job,) = (await api.get(JOBS)).json()["items"]
        assert job.pop("created_at").startswith(f"{made.created_at:%Y-%m-%dT%H:%M:%S}")
        assert job == {
            "id": str(made.id),
            "job": "render",
            "state": "failed",
            "attempts": 5,
            "reason": "The disk is full.",
        }

    async def test_pages_go_through_all_features(
        self, api: httpx.AsyncClient, kept: Kept, resources: Resources
    ) -> None:
        other = Kept("send")
        resources.jobs.append(other.control)
        for number in range(1, 8):
            (other if number % 3 else kept).add(number)
        found: list[int] = []
        params: dict[str, Any] = {"limit": 2}
        while True:
            answer = await api.get(JOBS, params=params)
            found += ids(answer)
            if (cursor := answer.json()["next_cursor"]) is None:
                break
            params["cursor"] = cursor
        assert found == [7, 6, 5, 4, 3, 2, 1]

    async def test_of_one_state(self, api: httpx.AsyncClient, kept: Kept) -> None:
        for number, state in enumerate(JobState):
            kept.add(number, state)
        for number, state in enumerate(JobState):
            answer = await api.get(JOBS, params={"state": state})
            if state is JobState.FINISHED:
                check_problem(answer, 422, "validation_failed")
            else:
                assert ids(answer) == [number]
        assert len(ids(await api.get(JOBS))) == len(JobState) - 1

    async def test_without_a_feature_that_has_jobs(
        self, api: httpx.AsyncClient, resources: Resources
    ) -> None:
        resources.jobs.clear()
        assert (await api.get(JOBS)).json() == {"items": [], "next_cursor": None}
        answer = await api.post(f"{JOBS}/{UUID(int=1)}/cancel")
        check_problem(answer, 404, "job_not_found")


class TestChange:
    """A job changes if its state allows that, and each change is a security event."""

    @pytest.mark.parametrize(
        ("change", "status", "allowed"),
        [
            ("retry", 202, {JobState.FAILED, JobState.CANCELLED}),
            ("cancel", 200, {JobState.FAILED, JobState.QUEUED, JobState.RUNNING}),
        ],
    )
    @pytest.mark.parametrize("state", [*JobState])
    async def test_its_state_decides(
        self,
        api: httpx.AsyncClient,
        kept: Kept,
        change: str,
        status: int,
        allowed: set[JobState],
        state: JobState,
    ) -> None:
        job = kept.add(1, state)
        with captured_logs() as events:
            answer = await api.post(f"{JOBS}/{job.id}/{change}")
        if state not in allowed:
            problem = check_problem(answer, 409, "job_state_unfit")
            assert f"This job is {state}" in problem["detail"]
            assert not kept.done
            assert not security(events)
            return
        assert (answer.status_code, kept.done) == (status, [change])
        assert answer.json()["state"] == {"retry": "queued", "cancel": "cancelled"}[change]
        ((action, actor, subject),) = security(events)
        assert action in {"job_retried", "job_cancelled"}
        assert actor is not None
        assert subject == str(job.id)

    @pytest.mark.parametrize("change", ["retry", "cancel"])
    async def test_an_unknown_one_is_404(
        self, api: httpx.AsyncClient, kept: Kept, change: str
    ) -> None:
        problem = check_problem(
            await api.post(f"{JOBS}/{UUID(int=9)}/{change}"), 404, "job_not_found"
        )
        assert "list the jobs" in problem["detail"]

    @pytest.mark.parametrize("text", ["1", "%00", "..%2f", "'; DROP TABLE tokens; --", "🚢"])
    async def test_what_is_no_id_is_refused(
        self, api: httpx.AsyncClient, kept: Kept, text: str
    ) -> None:
        answer = await api.post(f"{JOBS}/{text}/cancel")
        assert answer.status_code in {404, 422}
        assert kept.done == []

    async def test_a_reader_may_not(
        self, client: httpx.AsyncClient, kept: Kept, make_token: MakeToken
    ) -> None:
        job = kept.add(1)
        for scope, status in ((JOBS_READ, 200), (JOBS_WRITE, 403)):
            client.headers["Authorization"] = f"Bearer {await make_token(scope)}"
            assert (await client.get(JOBS)).status_code == status
            answer = await client.post(f"{JOBS}/{job.id}/cancel")
            check_problem(answer, 403, "scope_missing")
        assert kept.done == []
