"""What `python -m app jobs` does. `app.cli` parses its options and prints the result."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from psycopg.errors import UndefinedTable
from sqlalchemy.exc import DBAPIError

from app.config import Settings
from app.errors import AppError
from app.infra.backlog import load_backlog
from app.infra.db import as_unavailable, make_engine, make_sessions, reading, transaction
from app.infra.feature import Backlog, controls_of
from app.infra.http.pages import PageRequest
from app.infra.jobs import SHOWN, ShownJob, cancel_job, list_jobs, retry_job
from app.infra.queue import Enqueuer
from app.infra.redis import CircuitBreaker, make_redis
from app.printable import printable
from app.registry import FEATURES

NEWEST = 20  # jobs of each state; the API lists them all
LONGEST_REASON = 1000  # bytes


def show_jobs(counts: Sequence[Backlog], jobs: Sequence[ShownJob]) -> list[str]:
    if not counts and not jobs:
        return ["No job waits, runs or has failed."]
    lines = [f"{'job':<16} {'state':<10} {'number':>6}   oldest"] if counts else []
    lines += [
        f"{job:<16} {state:<10} {number:>6}   {_age(since)}" for job, state, number, since in counts
    ]
    for job in jobs:
        tried = f", {job.attempts} attempts without progress" if job.attempts else ""
        lines += ["", f"{job.state} {job.job} {job.id}, {_age(job.created_at)} old{tried}"]
        lines += [f"  {printable(job.reason, most=LONGEST_REASON)}"] if job.reason else []
    return [
        *lines,
        "",
        "Run a failed or cancelled job again: --retry ID. Cancel one: --cancel ID.",
        "The same with make: make jobs RETRY=ID, make jobs CANCEL=ID.",
    ]


def _age(since: datetime) -> timedelta:
    return timedelta(seconds=round((datetime.now(UTC) - since).total_seconds()))


def explain(error: Exception) -> str | None:
    """What to tell an operator; None for an error that nobody expects."""
    if isinstance(error, DBAPIError) and isinstance(error.orig, UndefinedTable):
        return "The database's schema is older than this code: migrate it first (make migrate)."
    expected = error if isinstance(error, AppError) else as_unavailable(error)
    return None if expected is None else expected.detail


async def load_jobs(settings: Settings) -> tuple[list[Backlog], list[ShownJob]]:
    """The counts of all jobs, and the newest of each state."""
    engine, controls = make_engine(settings, name="drydock-cli"), controls_of(FEATURES)
    try:
        async with reading(make_sessions(engine)) as session:
            newest = [
                await list_jobs(session, controls, page=PageRequest(limit=NEWEST), states=[state])
                for state in SHOWN
            ]
            jobs = [job for found in newest for job in found.items]
            return await load_backlog(session, FEATURES), jobs
    finally:
        await engine.dispose()


async def change_job(settings: Settings, *, retry: UUID | None, cancel: UUID | None) -> ShownJob:
    """Raises `AppError`. While Redis is down, the worker finds the job by itself."""
    engine, controls = make_engine(settings, name="drydock-cli"), controls_of(FEATURES)
    redis = make_redis(settings, timeout=settings.redis_timeout)
    enqueuer = Enqueuer(redis, CircuitBreaker(settings.redis_timeout))
    try:
        async with transaction(make_sessions(engine)) as session:
            if retry is not None:
                return await retry_job(session, controls, enqueuer, job_id=retry)
            assert cancel is not None
            return await cancel_job(session, controls, job_id=cancel)
    finally:
        await redis.aclose()
        await engine.dispose()
