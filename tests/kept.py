"""A feature whose jobs are in memory, for tests of what holds for the jobs of all features."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.infra.feature import Backlog
from app.infra.http.pages import PageRequest, Rows, decode_cursor, encode_cursor
from app.infra.jobs import JobControl, JobState, ShownJob
from app.infra.queue import Enqueuer


@dataclass
class Kept:
    """The jobs of a feature, and what was done to them."""

    kind: str = "render"
    jobs: dict[UUID, ShownJob] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)

    def add(self, number: int, state: JobState = JobState.FAILED, **overrides: Any) -> ShownJob:
        reason = "The disk is full." if state is JobState.FAILED else None
        began = datetime.now(UTC) - timedelta(minutes=1)
        job = ShownJob(UUID(int=number), self.kind, state, began, attempts=5, reason=reason)
        self.jobs[job.id] = replace(job, **overrides)
        return self.jobs[job.id]

    @property
    def control(self) -> JobControl:
        return JobControl(find=self._find, lock=self._lock, retry=self._retry, cancel=self._cancel)

    async def backlog(self, _session: AsyncSession) -> list[Backlog]:
        return [Backlog(job.job, job.state, 1, job.created_at) for job in self.jobs.values()]

    async def _find(
        self, _session: AsyncSession, page: PageRequest, states: Collection[JobState]
    ) -> Rows[ShownJob]:
        found = [
            job
            for job in sorted(self.jobs.values(), key=lambda job: job.id, reverse=True)
            if job.state in states and (page.cursor is None or job.id < decode_cursor(page.cursor))
        ]
        items = found[: page.limit]
        return Rows(items, encode_cursor(items[-1].id) if len(found) > page.limit else None)

    async def _lock(self, _session: AsyncSession, job_id: UUID) -> ShownJob | None:
        return self.jobs.get(job_id)

    async def _retry(self, _session: AsyncSession, _enqueuer: Enqueuer, job_id: UUID) -> None:
        self.done.append("retry")
        self.jobs[job_id] = replace(self.jobs[job_id], state=JobState.QUEUED, reason=None)

    async def _cancel(self, _session: AsyncSession, job_id: UUID) -> None:
        self.done.append("cancel")
        job = replace(self.jobs[job_id], state=JobState.CANCELLED, reason="Half of it stays.")
        self.jobs[job_id] = job
