"""Jobs that people see one by one, run again and cancel. Each feature keeps its own as rows.

`app.infra.queue` takes jobs to the worker, and `app.infra.backlog` counts them.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.errors import AppError, NotFound
from app.infra.http.pages import PageRequest, Rows, encode_cursor
from app.infra.queue import Enqueuer


class JobState(StrEnum):
    QUEUED = "queued"  # it waits for the worker
    RUNNING = "running"
    FAILED = "failed"  # it was given up: somebody has to look at it
    CANCELLED = "cancelled"  # somebody did not want it any more
    FINISHED = "finished"


# The order in which people see them.
SHOWN = (JobState.FAILED, JobState.RUNNING, JobState.QUEUED, JobState.CANCELLED)
MAY_RETRY = frozenset({JobState.FAILED, JobState.CANCELLED})
MAY_CANCEL = frozenset({JobState.QUEUED, JobState.RUNNING, JobState.FAILED})


@dataclass(frozen=True, slots=True)
class ShownJob:
    id: UUID  # made by uuidv7(), so that the ids of all features sort by time
    job: str  # its kind, as in `Backlog`
    state: JobState
    created_at: datetime
    attempts: int  # since it last made progress
    reason: str | None  # why it has failed or was cancelled, and what of it stays


@dataclass(frozen=True)
class JobControl:
    """What people can do with a feature's jobs. Each function works in the session's transaction.

    A job locks its row in each of its transactions, and stops when the row's state is no longer
    queued or running. So a cancelled job ends at its next transaction, and what it has committed
    stays.
    """

    # A page of the jobs in one of these states, newest first, as `read_page` makes it. It is never
    # asked for finished ones.
    find: Callable[[AsyncSession, PageRequest, Collection[JobState]], Awaitable[Rows[ShownJob]]]
    # The job with this id, whose row stays locked until the transaction ends. None without one.
    lock: Callable[[AsyncSession, UUID], Awaitable[ShownJob | None]]
    # Queue a failed or cancelled job, and enqueue it after the commit.
    retry: Callable[[AsyncSession, Enqueuer, UUID], Awaitable[None]]
    # Mark a job as cancelled.
    cancel: Callable[[AsyncSession, UUID], Awaitable[None]]


class JobNotFound(NotFound):
    code = "job_not_found"
    title = "There is no such job"


class JobStateUnfit(AppError):
    code = "job_state_unfit"
    status = 409
    title = "The state of this job does not allow that"


async def list_jobs(
    session: AsyncSession,
    controls: Sequence[JobControl],
    *,
    page: PageRequest,
    states: Collection[JobState] = SHOWN,
) -> Rows[ShownJob]:
    """Of all features, newest first."""
    pages = [await control.find(session, page, states) for control in controls]
    found = [job for rows in pages for job in rows.items]
    items = sorted(found, key=lambda job: job.id, reverse=True)[: page.limit]
    more = len(found) > page.limit or any(rows.next_cursor for rows in pages)
    return Rows(items, encode_cursor(items[-1].id) if more else None)


async def retry_job(
    session: AsyncSession, controls: Sequence[JobControl], enqueuer: Enqueuer, *, job_id: UUID
) -> ShownJob:
    """Let a failed or cancelled job run again. Raises `JobNotFound` and `JobStateUnfit`."""
    control, job = await _lock(session, controls, job_id)
    if job.state not in MAY_RETRY:
        raise JobStateUnfit(
            f"This job is {job.state}. Only a failed or cancelled job can run again."
        )
    await control.retry(session, enqueuer, job_id)
    return (await _lock(session, [control], job_id))[1]


async def cancel_job(
    session: AsyncSession, controls: Sequence[JobControl], *, job_id: UUID
) -> ShownJob:
    """Cancel a job, also a failed one that nobody needs. What it has committed stays.

    Raises `JobNotFound` and `JobStateUnfit`.
    """
    control, job = await _lock(session, controls, job_id)
    if job.state not in MAY_CANCEL:
        raise JobStateUnfit(f"This job is {job.state} already, so nothing is left to cancel.")
    await control.cancel(session, job_id)
    return (await _lock(session, [control], job_id))[1]


async def _lock(
    session: AsyncSession, controls: Sequence[JobControl], job_id: UUID
) -> tuple[JobControl, ShownJob]:
    for control in controls:
        job = await control.lock(session, job_id)
        if job is not None:
            return control, job
    raise JobNotFound("No job has this id. Perhaps it was purged: list the jobs to see their ids.")
