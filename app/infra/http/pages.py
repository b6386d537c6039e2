"""Keyset pages: a cursor names the last row seen, so pages neither repeat nor skip rows."""

import base64
import binascii
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Generic, Self, TypeVar
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from sqlalchemy import Select, exc, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from app.errors import ValidationFailed
from app.infra.db import Base
from app.printable import CONTROLS

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


class PageRequest(BaseModel):
    """Which page: at most `limit` rows, those after the row that `cursor` names.

    A list that filters or sorts subclasses it, with a field for each parameter of its query.
    """

    limit: Annotated[int, Field(ge=1, le=MOST, description="How many rows at most.")] = 50
    cursor: Annotated[
        str | None, Field(description="Must be `next_cursor` of the page before.")
    ] = None


PageDep = Annotated[PageRequest, Query()]


@dataclass(frozen=True)
class Sort:
    """An order of rows by a column that is never null. Rows with equal values follow their ids."""

    column: InstrumentedAttribute[Any]
    descending: bool = False

    @classmethod
    def of(cls, model: type[Base], name: str | None) -> Self | None:
        """By the column `name`, or by `-name` for the reverse order."""
        if name is None:
            return None
        return cls(getattr(model, name.removeprefix("-")), descending=name.startswith("-"))


async def read_page(
    session: AsyncSession,
    query: Select[Row],
    by: InstrumentedAttribute[UUID],
    page: PageRequest,
    sort: Sort | None = None,
) -> Rows[Row]:
    """The page's rows, newest first without `sort`. `by` is the column of the ids.

    The ids sort by time. For a large table, `sort` needs an index on its column and the id.
    Raises `ValidationFailed` for a cursor that is not of this list in this order.
    """
    keys = (by,) if sort is None else (sort.column, by)
    descending = sort is None or sort.descending
    if page.cursor is not None:
        after = _read_cursor(page.cursor, sort)
        query = query.where(tuple_(*keys) < after if descending else tuple_(*keys) > after)
    query = query.order_by(*[key.desc() if descending else key for key in keys])
    try:
        # One row more than is shown tells whether another page follows.
        found = list(await session.scalars(query.limit(page.limit + 1)))
    except exc.DataError:
        if page.cursor is None:
            raise
        raise _malformed() from None  # it holds a value that the column could not hold
    items = found[: page.limit]
    more = len(found) > page.limit
    return Rows(items, _write_cursor(items[-1], by, sort) if more else None)


def _write_cursor(row: Any, by: InstrumentedAttribute[UUID], sort: Sort | None) -> str:
    last = getattr(row, by.key)
    if sort is None:
        return encode_cursor(last)
    place = (_name(sort), getattr(row, sort.column.key), last)
    return base64.urlsafe_b64encode(_places(sort.column).dump_json(place)).decode().rstrip("=")


def _read_cursor(cursor: str, sort: Sort | None) -> tuple[Any, ...]:
    if sort is None:
        return (decode_cursor(cursor),)
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        written = base64.b64decode(padded, altchars=b"-_", validate=True)
        name, value, last = _places(sort.column).validate_json(written)
    except (ValidationError, ValueError):
        raise _malformed() from None
    if name != _name(sort) or (isinstance(value, str) and CONTROLS.search(value)):
        raise _malformed()
    return value, last


def _name(sort: Sort) -> str:
    return f"-{sort.column.key}" if sort.descending else sort.column.key


@cache
def _places(column: InstrumentedAttribute[Any]) -> TypeAdapter[tuple[str, Any, UUID]]:
    """What a cursor of a sorted list holds: the order's name, and the last row's value and id."""
    return TypeAdapter(tuple[str, column.type.python_type, UUID])  # type: ignore[name-defined]


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
    raise _malformed()


def _malformed() -> ValidationFailed:
    return ValidationFailed(
        "The cursor is malformed, or belongs to another order.",
        errors=[{"field": "query.cursor", "detail": "use next_cursor of a page, unchanged"}],
    )
