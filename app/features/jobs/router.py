"""/api/v1/jobs."""

from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query, Request

from app.features.jobs.schemas import JobPage, JobQuery, JobRead
from app.features.jobs.scopes import JOBS_READ, JOBS_WRITE
from app.features.tokens.auth import Authenticated
from app.features.tokens.errors import ScopeMissing, TokenInvalid
from app.features.tokens.known import Caller
from app.infra import jobs
from app.infra.audit import record
from app.infra.db import SessionDep, after_commit
from app.infra.http.problems import API_ERRORS, ProblemRouter, responses
from app.infra.jobs import SHOWN, JobNotFound, JobState, JobStateUnfit
from app.infra.lifespan import ResourcesDep

Reader = Annotated[Caller, Depends(Authenticated(JOBS_READ, "read"))]
# The answer holds the whole job.
Operator = Annotated[Caller, Depends(Authenticated(JOBS_WRITE, "write", also=(JOBS_READ,)))]

router = ProblemRouter(
    prefix="/api/v1/jobs",
    tags=["jobs"],
    responses=responses(*API_ERRORS, TokenInvalid, ScopeMissing),
)


@router.get("")
async def list_jobs(
    _reader: Reader,
    session: SessionDep,
    resources: ResourcesDep,
    wanted: Annotated[JobQuery, Query()],
) -> JobPage:
    """The jobs that have not finished, newest first. With `state` only those in this state."""
    states = SHOWN if wanted.state is None else (JobState(wanted.state),)
    found = await jobs.list_jobs(session, resources.jobs, page=wanted, states=states)
    items = [JobRead.model_validate(job) for job in found.items]
    return JobPage(items=items, next_cursor=found.next_cursor)


@router.post("/{job_id}/retry", status_code=202, responses=responses(JobNotFound, JobStateUnfit))
async def retry_job(
    job_id: UUID, operator: Operator, session: SessionDep, resources: ResourcesDep, request: Request
) -> JobRead:
    """Run a failed or cancelled job again. It goes on where it stopped."""
    job = await jobs.retry_job(session, resources.jobs, resources.enqueuer, job_id=job_id)
    event = partial(record, request, "job_retried", actor=operator.id, subject=str(job_id))
    after_commit(session, event)
    return JobRead.model_validate(job)


@router.post("/{job_id}/cancel", responses=responses(JobNotFound, JobStateUnfit))
async def cancel_job(
    job_id: UUID, operator: Operator, session: SessionDep, resources: ResourcesDep, request: Request
) -> JobRead:
    """Cancel a job that waits or runs, or a failed one that nobody needs.

    A running job stops at its next transaction. What it has done before stays: see `reason`.
    """
    job = await jobs.cancel_job(session, resources.jobs, job_id=job_id)
    event = partial(record, request, "job_cancelled", actor=operator.id, subject=str(job_id))
    after_commit(session, event)
    return JobRead.model_validate(job)
