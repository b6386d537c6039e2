"""Unique constraints as errors of the API."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.errors import AppError


async def flush_unique(session: AsyncSession, taken: Mapping[str, AppError]) -> None:
    """Flush. Raises the error of the unique constraint that the changes violate, by its name.

    The constraint decides, so of several transactions at once exactly one succeeds. The others wait
    for it first. A query beforehand would let all of them pass.
    """
    try:
        await session.flush()
    except IntegrityError as error:
        driver: Any = error.orig
        if driver.diag.constraint_name not in taken:
            raise
        raise taken[driver.diag.constraint_name] from None
