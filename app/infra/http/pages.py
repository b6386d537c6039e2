"""Keyset pages: a cursor names the last row seen, so pages neither repeat nor skip rows."""

import base64
import binascii
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar
from uuid import UUID

from fastapi import Depends, Query
from pydantic import BaseModel
from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from app.errors import ValidationFailed

MOST = 100  # rows a page; more would let one request hold a connection for long

Item = TypeVar("Item", bound=BaseModel)
Row = TypeVar("Row")


class Page(BaseModel, Generic[Item]):
    """What a client gets. Subclass it, so that the OpenAPI document has a name for each."""

    items: list[Item]
    next_cursor: str | None


@dataclass(frozen=True)
class Rows(Generic[Row]):
    """What a service returns: the rows of one page, and the cursor of the next one if any."""

    items: list[Row]
    next_cursor: str | None


@dataclass(frozen=True)
class PageRequest:
    """Which page: at most `limit` rows, those after the row whose id is `after`."""

    limit: int = 50
    after: UUID | None = None


async def read_page(
    session: AsyncSession,
    query: Select[Row],
    by: InstrumentedAttribute[UUID],
    page: PageRequest,
) -> Rows[Row]:
    """The page's rows, newest first. `by` is the column of the ids, which sort by time."""
    if page.after is not None:
        query = query.where(by < page.after)
    # One row more than is shown tells whether another page follows.
    found = list(await session.scalars(query.order_by(by.desc()).limit(page.limit + 1)))
    items = found[: page.limit]
    more = len(found) > page.limit
    return Rows(items, encode_cursor(getattr(items[-1], by.key)) if more else None)


def encode_cursor(last: UUID) -> str:
    return base64.urlsafe_b64encode(last.bytes).decode().rstrip("=")


def decode_cursor(cursor: str) -> UUID:
    """The id that the cursor names. Raises `ValidationFailed` for anything we did not write."""
    try:
        decoded = UUID(bytes=base64.b64decode(f"{cursor}==", altchars=b"-_", validate=True))
        if encode_cursor(decoded) == cursor:
            return decoded
    except (ValueError, binascii.Error):
        pass  # falls through to the error below
    raise ValidationFailed(
        "The cursor is malformed.",
        errors=[{"field": "query.cursor", "detail": "use next_cursor of a page, unchanged"}],
    )


async def _get_page_request(
    limit: Annotated[int, Query(ge=1, le=MOST, description="How many rows at most.")] = 50,
    cursor: Annotated[
        str | None, Query(description="Must be `next_cursor` of the page before.")
    ] = None,
) -> PageRequest:
    return PageRequest(limit, None if cursor is None else decode_cursor(cursor))


PageDep = Annotated[PageRequest, Depends(_get_page_request)]
