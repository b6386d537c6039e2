"""Deleting many rows in batches. One statement for all would some day exceed its time limit."""

from typing import Any

import structlog
from sqlalchemy import ColumnElement, CursorResult, delete, inspect, select, tuple_

from app.infra.db import Base, Sessions, transaction

log = structlog.get_logger(__name__)

BATCH = 1000  # rows; a batch takes some 10 ms, and its locks are held no longer
LOG_EVERY = 100  # batches


async def delete_in_batches(
    sessions: Sessions, model: type[Base], *where: ColumnElement[bool], batch: int = BATCH
) -> int:
    """Delete the model's rows that fulfil all of `where`. Returns how many.

    Each batch is a transaction of its own. So a run that is interrupted keeps what it has done, and
    the next one goes on. Rows that others have locked are left for the next run. If other tables
    refer to the rows with ON DELETE CASCADE, delete those rows first: a batch here counts its own
    rows only.
    """
    key = inspect(model).primary_key
    some = select(*key).where(*where).limit(batch).with_for_update(skip_locked=True)
    # A CTE runs once. PostgreSQL may run a subquery with a LIMIT several times.
    statement = delete(model).where(tuple_(*key).in_(select(some.cte("some"))))
    total = done = batches = 0
    while batches == 0 or done == batch:
        async with transaction(sessions) as session:
            result: CursorResult[Any] = await session.execute(
                statement, execution_options={"synchronize_session": False}
            )  # type: ignore[assignment] # execute() is typed for queries
            done = result.rowcount
        total, batches = total + done, batches + 1
        if batches % LOG_EVERY == 0:
            log.info("rows_deleted", table=model.__tablename__, rows=total)
    return total
