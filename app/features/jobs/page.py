"""The panel's forms: run a job again, cancel it. The API offers the same."""

from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from app.features.jobs.scopes import JOBS_READ, JOBS_WRITE
from app.features.tokens.auth import Authenticated
from app.features.tokens.known import Caller
from app.infra import jobs
from app.infra.audit import record
from app.infra.db import SessionDep, after_commit
from app.infra.http.idempotency import once_on_page
from app.infra.lifespan import ResourcesDep
from app.infra.page.origin import require_same_origin
from app.infra.page.render import PREFIX, PageRoute, see_other

MAY_CHANGE = Authenticated(JOBS_WRITE, "write", also=(JOBS_READ,))
# A form that is sent twice is carried out once.
Operator = Annotated[Caller, Depends(once_on_page(MAY_CHANGE.visitor))]

router = APIRouter(
    prefix=f"{PREFIX}/jobs",
    include_in_schema=False,
    route_class=PageRoute,
    dependencies=[Depends(require_same_origin)],
)


@router.post("/{job_id}/retry")
async def retry_job(
    job_id: UUID, operator: Operator, session: SessionDep, resources: ResourcesDep, request: Request
) -> Response:
    await jobs.retry_job(session, resources.jobs, resources.enqueuer, job_id=job_id)
    event = partial(record, request, "job_retried", actor=operator.id, subject=str(job_id))
    after_commit(session, event)
    return see_other("/#jobs")


@router.post("/{job_id}/cancel")
async def cancel_job(
    job_id: UUID, operator: Operator, session: SessionDep, resources: ResourcesDep, request: Request
) -> Response:
    await jobs.cancel_job(session, resources.jobs, job_id=job_id)
    event = partial(record, request, "job_cancelled", actor=operator.id, subject=str(job_id))
    after_commit(session, event)
    return see_other("/#jobs")
