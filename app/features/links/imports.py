"""Imports: reading their progress, and turning rows into links, a batch at a time.

One transaction stores a batch's links, its errors and the number of the next row. So an import that
was interrupted continues where it stopped, and two workers at one import do each row once.
`lifecycle` has what comes before and after.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy import func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.errors import fault_message
from app.features.links.csvfile import CsvRow
from app.features.links.errors import ImportNotFound, SlugTaken
from app.features.links.lifecycle import WORKED_ON
from app.features.links.models import Import, RowError
from app.features.links.schemas import ImportProgress, ImportRead, LinkCreate, RowFault
from app.features.links.service import ALPHABET, SLUG_LENGTH

ERRORS_A_PAGE = 1000

# A row without a slug gets one that is derived from its URL, so that a second import finds it. It
# has the first of these lengths, and the next one if the slug belongs to another URL.
DERIVED_LENGTHS = (SLUG_LENGTH + 1, 12, 16, 22)

INSERT_LINKS = text("""
    INSERT INTO links (slug, url, title, expires_at, created_by)
    SELECT given.slug, given.url, given.title, given.expires_at, :created_by
    FROM unnest(CAST(:slugs AS text[]), CAST(:urls AS text[]), CAST(:titles AS text[]),
                CAST(:expiries AS timestamptz[]))
         WITH ORDINALITY AS given (slug, url, title, expires_at, place)
    ORDER BY given.slug, given.place
    ON CONFLICT (slug) DO NOTHING
    RETURNING slug, url
""")
FIND_URLS = text("SELECT slug, url FROM links WHERE slug = ANY(CAST(:slugs AS text[]))")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A well-formed row."""

    number: int
    url: str
    slug: str | None
    title: str | None
    expires_at: datetime | None

    def slug_at(self, attempt: int) -> str | None:
        """The slug to try; None if all have been tried."""
        if self.slug is not None:
            return self.slug if attempt == 0 else None
        if attempt >= len(DERIVED_LENGTHS):
            return None
        return derive_slug(self.url, DERIVED_LENGTHS[attempt])


def derive_slug(url: str, length: int) -> str:
    """A slug that depends on the URL alone, without letters that look alike."""
    number = int.from_bytes(hashlib.sha256(url.encode()).digest())
    characters = []
    for _ in range(length):
        number, rest = divmod(number, len(ALPHABET))
        characters.append(ALPHABET[rest])
    return "".join(characters)


async def _find_import(session: AsyncSession, import_id: UUID) -> Import:
    job = await session.get(Import, import_id)
    if job is None:
        raise ImportNotFound("No import has this id.")
    return job


async def read_progress(session: AsyncSession, *, import_id: UUID) -> ImportProgress:
    return ImportProgress.model_validate(await _find_import(session, import_id))


async def read_all_progress(
    session: AsyncSession, *, import_ids: Collection[UUID]
) -> dict[UUID, ImportProgress]:
    """The progress of those that exist."""
    found = await session.scalars(select(Import).where(Import.id.in_(set(import_ids))))
    return {job.id: ImportProgress.model_validate(job) for job in found}


async def read_import(session: AsyncSession, *, import_id: UUID, errors_after: int) -> ImportRead:
    """The progress and a page of row errors, in the order of the file."""
    progress = await read_progress(session, import_id=import_id)
    query = (
        select(RowError)
        .where(RowError.import_id == import_id, RowError.row > errors_after)
        .order_by(RowError.row)
        .limit(ERRORS_A_PAGE + 1)
    )
    found = [RowFault.model_validate(error) for error in await session.scalars(query)]
    errors = found[:ERRORS_A_PAGE]
    more = len(found) > ERRORS_A_PAGE
    return ImportRead(
        **progress.model_dump(),
        errors=errors,
        next_errors_after=errors[-1].row if more else None,
    )


async def apply_batch(
    session: AsyncSession, *, import_id: UUID, rows: list[CsvRow]
) -> list[str] | None:
    """Import these rows, at least one. The caller commits.

    Returns the slugs of the new links, or None if another worker has imported these rows, or if the
    import failed.
    """
    locked = select(Import).where(Import.id == import_id).with_for_update()
    job = await session.scalar(locked)
    if job is None or job.status not in WORKED_ON or job.next_row > rows[0].number:
        return None
    candidates, faults = _validate(rows)
    made, taken = await _insert(session, candidates, job.created_by)
    faults += taken
    if faults:
        await session.execute(
            insert(RowError), [{"import_id": import_id, **fault.model_dump()} for fault in faults]
        )
    job.done += len(rows) - len(faults)
    job.failed += len(faults)
    job.next_row = rows[-1].number + 1
    job.attempts = 0
    job.updated_at = func.now()
    await session.flush()
    return made


def _validate(rows: list[CsvRow]) -> tuple[list[Candidate], list[RowFault]]:
    candidates, faults = [], []
    for row in rows:
        try:
            if row.fault is not None:
                faults.append(RowFault(row=row.number, code="row_malformed", detail=row.fault))
                continue
            data = LinkCreate.model_validate(row.values)
        except ValidationError as error:
            faults.append(RowFault(row=row.number, code="validation_failed", detail=_say(error)))
        else:
            candidates.append(
                Candidate(row.number, data.url, data.slug, data.title, data.expires_at)
            )
    return candidates, faults


def _say(error: ValidationError) -> str:
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    said = (
        f"{'.'.join(map(str, fault['loc'])) or 'row'}: {fault_message(fault)}" for fault in faults
    )
    return "; ".join(said)


async def _insert(
    session: AsyncSession, candidates: list[Candidate], created_by: UUID | None
) -> tuple[list[str], list[RowFault]]:
    """Insert the links that do not exist yet. A row is done when its slug leads to its URL."""
    made: list[str] = []
    faults: list[RowFault] = []
    attempt = 0
    while candidates:
        tried = [(slug, row) for row in candidates if (slug := row.slug_at(attempt))]
        faults += [
            RowFault(row=row.number, code=SlugTaken.code, detail=f"slug: {row.slug!r} is taken")
            for row in candidates
            if row.slug_at(attempt) is None
        ]
        values = {
            "slugs": [slug for slug, _ in tried],
            "urls": [row.url for _, row in tried],
            "titles": [row.title for _, row in tried],
            "expiries": [row.expires_at for _, row in tried],
            "created_by": created_by,
        }
        urls: dict[str, str] = dict((await session.execute(INSERT_LINKS, values)).all())
        made += urls
        if others := [slug for slug, _ in tried if slug not in urls]:
            urls |= dict((await session.execute(FIND_URLS, {"slugs": others})).all())
        candidates = [row for slug, row in tried if urls.get(slug) != row.url]
        attempt += 1
    return made, faults
