"""Imports as jobs that people see, run again and cancel."""

from collections.abc import Collection
from functools import partial
from uuid import UUID

from sqlalchemy import case, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.features.links import lifecycle
from app.features.links.models import Import, ImportStatus
from app.features.links.tasks import enqueue_import
from app.infra.db import after_commit
from app.infra.http.pages import PageRequest, Rows, read_page
from app.infra.jobs import JobControl, JobState, ShownJob
from app.infra.queue import Enqueuer

STATE = case((lifecycle.CANCELLED, JobState.CANCELLED), else_=Import.status)


async def find_jobs(
    session: AsyncSession, page: PageRequest, states: Collection[JobState]
) -> Rows[ShownJob]:
    # The first condition lets Postgres use the index of those that have not finished.
    query = select(Import).where(Import.status != ImportStatus.FINISHED, STATE.in_(states))
    found = await read_page(session, query, Import.id, page)
    return Rows([_show(job) for job in found.items], found.next_cursor)


async def lock_job(session: AsyncSession, job_id: UUID) -> ShownJob | None:
    """An upload is no job yet."""
    job = await session.get(Import, job_id, with_for_update=True)
    return None if job is None or job.status == ImportStatus.UPLOADING else _show(job)


def _show(job: Import) -> ShownJob:
    cancelled = job.status == ImportStatus.FAILED and job.attempts == 0
    return ShownJob(
        id=job.id,
        job="import",
        state=JobState.CANCELLED if cancelled else JobState(job.status),
        created_at=job.created_at,
        attempts=job.attempts,
        reason=job.failure,
    )


async def retry_job(session: AsyncSession, enqueuer: Enqueuer, job_id: UUID) -> None:
    await lifecycle.retry(session, import_id=job_id)
    after_commit(session, partial(enqueue_import, enqueuer, job_id))


async def cancel_job(session: AsyncSession, job_id: UUID) -> None:
    await lifecycle.cancel(session, import_id=job_id)


control = JobControl(find=find_jobs, lock=lock_job, retry=retry_job, cancel=cancel_job)
