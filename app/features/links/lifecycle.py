"""The life of an import: its file arrives in pieces, the worker takes it up, it ends or fails.

An attempt is counted before it begins, so a file that kills its worker is counted too. Progress
resets the count. After MOST_ATTEMPTS without progress the import has failed, and keeps its file: a
person can have it run again. A person can also cancel one, which then counts as failed.
"""

from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, delete, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.features.links.errors import FileInvalid, ImportNotFound, TooManyImports
from app.features.links.models import Import, ImportPiece, ImportStatus
from app.features.links.schemas import ImportProgress
from app.infra.feature import Backlog

PIECE = 256 * 1024  # bytes; an upload and an import each hold a few of them in memory
MOST_OPEN = 20  # imports of a token that arrive, wait or run
# An upload without a new piece for this long was abandoned, perhaps with its process.
ABANDONED_AFTER = timedelta(minutes=10)

MOST_ATTEMPTS = 5  # without progress
# An import without progress for this long has lost its job: Redis was down, or the worker died.
# After each further attempt it waits twice as long.
STALLED_AFTER = timedelta(seconds=15)

WORKED_ON = (ImportStatus.QUEUED, ImportStatus.RUNNING)
# An import that fails by itself has made MOST_ATTEMPTS. So these have no state of their own, which
# the version before would not know.
CANCELLED = and_(Import.status == ImportStatus.FAILED, Import.attempts == 0)

# Versions before 0011 have the whole file in the row, and they may still run during a deploy.
SPLIT = text("""
    INSERT INTO import_pieces (import_id, number, content)
    SELECT id, number, substring(source FROM number * :size + 1 FOR :size)
    FROM imports, generate_series(0, (length(source) - 1) / :size) AS number
    WHERE id = :id
""")


def abandoned() -> ColumnElement[bool]:
    return and_(
        Import.status == ImportStatus.UPLOADING, Import.updated_at < func.now() - ABANDONED_AFTER
    )


async def begin_upload(session: AsyncSession, *, created_by: UUID) -> UUID:
    """The id of a new import. Raises `TooManyImports`.

    Requests at the same moment may exceed the limit by the number of uploads of a token that each
    process takes.
    """
    waiting = and_(
        Import.created_by == created_by,
        Import.status != ImportStatus.FINISHED,
        Import.status != ImportStatus.FAILED,
        ~abandoned(),
    )
    if await session.scalar(select(func.count()).where(waiting)) >= MOST_OPEN:  # type: ignore[operator] # a count is never None
        raise TooManyImports(f"{MOST_OPEN} imports of this token wait or run: wait for one to end.")
    job = Import(created_by=created_by, status=ImportStatus.UPLOADING)
    session.add(job)
    await session.flush()
    return job.id


async def add_piece(session: AsyncSession, *, import_id: UUID, number: int, content: bytes) -> None:
    """Store the next piece of the file. Raises `FileInvalid` for an upload that was abandoned."""
    await _find_upload(session, import_id)
    session.add(ImportPiece(import_id=import_id, number=number, content=content))
    await session.flush()


async def end_upload(session: AsyncSession, *, import_id: UUID, total: int) -> ImportProgress:
    """The whole file is there: let the worker take it up."""
    job = await _find_upload(session, import_id)
    job.total, job.status = total, ImportStatus.QUEUED
    await session.flush()
    return ImportProgress.model_validate(job)


async def _find_upload(session: AsyncSession, import_id: UUID) -> Import:
    job = await session.get(Import, import_id, with_for_update=True)
    if job is None:
        raise FileInvalid("The upload stood still for too long: send the file again.")
    job.updated_at = func.now()
    return job


async def discard_upload(session: AsyncSession, *, import_id: UUID) -> None:
    await session.execute(
        delete(Import).where(Import.id == import_id, Import.status == ImportStatus.UPLOADING)
    )


async def begin_attempt(session: AsyncSession, *, import_id: UUID) -> int | None:
    """Count an attempt. The number of the next row; None if nothing is left to do."""
    job = await session.get(Import, import_id, with_for_update=True)
    if job is None or job.status not in WORKED_ON:
        return None
    job.status = ImportStatus.RUNNING
    job.attempts += 1
    job.updated_at = func.now()
    await session.execute(SPLIT, {"id": import_id, "size": PIECE})
    await session.execute(update(Import).where(Import.id == import_id).values(source=None))
    await session.flush()
    return job.next_row


async def load_piece(session: AsyncSession, *, import_id: UUID, number: int) -> bytes | None:
    """None after the last one."""
    content: bytes | None = await session.scalar(
        select(ImportPiece.content).where(
            ImportPiece.import_id == import_id, ImportPiece.number == number
        )
    )
    return content


async def finish(session: AsyncSession, *, import_id: UUID) -> bool:
    """All rows were imported: drop the file. False if the import was finished or has failed."""
    done = await session.execute(
        update(Import)
        .where(Import.id == import_id, Import.status.in_(WORKED_ON))
        .values(status=ImportStatus.FINISHED, updated_at=func.now())
        .returning(Import.id)
    )
    if done.first() is None:
        return False
    await session.execute(delete(ImportPiece).where(ImportPiece.import_id == import_id))
    return True


class Stalled(NamedTuple):
    """An import to take up again, and how often that was tried since it last made progress."""

    id: UUID
    attempts: int


async def take_stalled(session: AsyncSession) -> list[Stalled]:
    """The imports whose next attempt is due."""
    wait = STALLED_AFTER * func.power(2, func.greatest(Import.attempts - 1, 0))
    due = and_(Import.attempts < MOST_ATTEMPTS, Import.updated_at < func.now() - wait)
    found = await session.execute(
        update(Import)
        .where(Import.id.in_(_unlocked(due)))
        .values(updated_at=func.now())
        .returning(Import.id, Import.attempts)
        .execution_options(synchronize_session=False)
    )
    return [Stalled(*row) for row in found]


async def give_up(session: AsyncSession) -> list[UUID]:
    """Let the imports fail whose last attempt made no progress either."""
    hopeless = and_(
        Import.attempts >= MOST_ATTEMPTS, Import.updated_at < func.now() - STALLED_AFTER
    )
    reason = func.format(
        "It was given up after %s attempts without progress, at line %s of the file. "
        "The lines before were imported.",
        Import.attempts,
        Import.next_row,
    )
    found = await session.scalars(
        update(Import)
        .where(Import.id.in_(_unlocked(hopeless)))
        .values(status=ImportStatus.FAILED, failure=reason, updated_at=func.now())
        .returning(Import.id)
        .execution_options(synchronize_session=False)
    )
    return list(found)


def _unlocked(where: ColumnElement[bool]) -> Select[Any]:
    """Those that are worked on, without those whose batch is being committed now."""
    query = select(Import.id).where(Import.status.in_(WORKED_ON), where)
    return query.with_for_update(skip_locked=True)


async def retry(session: AsyncSession, *, import_id: UUID) -> ImportProgress:
    """Let a failed import run again from where it stopped; leave any other one as it is."""
    job = await session.get(Import, import_id, with_for_update=True)
    if job is None:
        raise ImportNotFound("No import has this id.")
    if job.status == ImportStatus.FAILED:
        job.status, job.failure, job.attempts = ImportStatus.QUEUED, None, 0
        job.updated_at = func.now()
        await session.flush()
    return ImportProgress.model_validate(job)


async def cancel(session: AsyncSession, *, import_id: UUID) -> None:
    """Let an import fail, since a person wants that. Its links stay, and it can run again.

    A worker that is at it finishes the batch that it has begun, and stops before the next one.
    """
    job = await session.get(Import, import_id, with_for_update=True)
    if job is None:
        raise ImportNotFound("No import has this id.")
    job.status, job.attempts = ImportStatus.FAILED, 0
    job.failure = (
        f"It was cancelled after {job.done + job.failed} of {job.total} rows. "
        "What was imported stays."
    )
    job.updated_at = func.now()
    await session.flush()


async def backlog(session: AsyncSession) -> list[Backlog]:
    """How many imports are in each state but finished and cancelled, and since when."""
    found = await session.execute(
        select(Import.status, func.count(), func.min(Import.created_at))
        .where(Import.status != ImportStatus.FINISHED, ~CANCELLED)
        .group_by(Import.status)
    )
    return [Backlog("import", *row) for row in found]
