"""Postgres: the engine, the session of a request, and time limits.

Three limits bound how long a request waits for Postgres: to connect, to get a connection from the
pool, and to keep one checked out. The last one is enforced by shutting down the socket, because a
frozen server does not answer a cancel request either.

A request that only reads has a connection in autocommit mode. So it needs one round trip for a
query, and no BEGIN and COMMIT.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import psycopg
from fastapi import Depends, Request
from sqlalchemy import Connection, ExceptionContext, MetaData, event, exc
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase

from app.config import Settings
from app.errors import DependencyUnavailable, Overloaded, QueryTimedOut, RowsLocked, Unavailable
from app.infra.connecting import Connection as Driver
from app.infra.connecting import connect_arguments, open_connection
from app.infra.pool import CheckoutLimit, FairPool, PoolIsFull, refuse_closed_connection

SAFE_METHODS = frozenset({"GET", "HEAD"})
READS = "drydock_reads"  # the execution option of connections that need no transaction

Hook = Callable[[], Awaitable[None]]


class Base(DeclarativeBase):
    """The base class of all models. Constraints get fixed names, so migrations can drop them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def make_engine(
    settings: Settings, *, name: str, checkout_limit: float | None = None
) -> AsyncEngine:
    """An engine whose connections may be checked out for at most `checkout_limit` seconds.

    The pool has a fixed size. With SQLAlchemy's default overflow it would open and close
    connections all the time under load.
    """
    limit = settings.database_checkout_limit if checkout_limit is None else checkout_limit
    conninfo = connect_arguments(settings, name=name, limit=limit)

    async def connect() -> Driver:
        return await open_connection(
            conninfo, limit=settings.database_connect_timeout, pooled=settings.database_pooled
        )

    engine = create_async_engine(
        "postgresql+psycopg://",
        async_creator=connect,
        hide_parameters=True,  # errors are logged, and values may be secret
        poolclass=FairPool,
        pool_size=settings.database_pool_size,
        max_overflow=0,
        pool_timeout=settings.database_pool_timeout,
    )
    event.listen(engine.sync_engine, "checkout", refuse_closed_connection)
    event.listen(engine.sync_engine, "checkout", CheckoutLimit(limit).start)
    event.listen(engine.sync_engine, "checkin", CheckoutLimit.stop)
    event.listen(engine.sync_engine, "begin", _begin)
    event.listen(engine.sync_engine, "handle_error", _drop_connections)
    return engine


def _begin(connection: Connection) -> None:
    """Make psycopg send a BEGIN before the first statement, except for a session that reads.

    A BEGIN that SQLAlchemy executes costs a tenth of a request's CPU time.
    """
    driver: Any = connection.connection.dbapi_connection
    reads = bool(connection.get_execution_options().get(READS))
    if driver.autocommit is not reads:
        driver.autocommit = reads


def _drop_connections(context: ExceptionContext) -> None:
    """After an error, drop the connection if it is lost, and all if the server is read-only.

    By default SQLAlchemy drops all connections if one is lost. A connection that the checkout limit
    has shut says nothing about the others; `refuse_closed_connection` finds those that are closed.
    A server that was a primary and is read-only now must not be used again.
    """
    read_only = isinstance(context.original_exception, psycopg.errors.ReadOnlySqlTransaction)
    context.is_disconnect = context.is_disconnect or read_only
    context.invalidate_pool_on_disconnect = read_only


@dataclass(frozen=True)
class Sessions:
    """Makes the sessions of a process. `transaction` and `reading` use it."""

    writers: async_sessionmaker[AsyncSession]
    readers: async_sessionmaker[AsyncSession]


def make_sessions(engine: AsyncEngine) -> Sessions:
    options: dict[str, Any] = {"expire_on_commit": False, "autoflush": False}
    reads = engine.execution_options(**{READS: True})
    return Sessions(
        writers=async_sessionmaker(engine, **options),
        readers=async_sessionmaker(reads, info={READS: True}, **options),
    )


def after_commit(session: AsyncSession, hook: Hook) -> None:
    """Await `hook` after the session's transaction was committed; never if it fails.

    Use it to enqueue a job or to write to a cache. Raises `RuntimeError` for a session that only
    reads, such as that of a GET.
    """
    if READS in session.info:
        raise RuntimeError("This session only reads, so no commit will follow.")
    session.info.setdefault("after_commit", []).append(hook)


@asynccontextmanager
async def transaction(sessions: Sessions) -> AsyncIterator[AsyncSession]:
    """A session whose transaction the end of the block commits. Then its hooks run.

    If the block raises, the transaction is rolled back, and no hook runs.
    """
    async with sessions.writers() as session:
        yield session
        await session.commit()
        hooks: list[Hook] = session.info.pop("after_commit", [])
    for hook in hooks:
        await hook()


def reading(sessions: Sessions) -> AbstractAsyncContextManager[AsyncSession]:
    """A session for queries that change nothing. Each sees what is committed when it starts.

    That is the same as in a transaction, whose isolation is READ COMMITTED here. Only `now()` and
    locks differ: they last as long as one statement.
    """
    return sessions.readers()


async def get_session(request: Request) -> AsyncIterator[AsyncSession]:
    begin = reading if request.method in SAFE_METHODS else transaction
    async with begin(request.state.resources.sessions) as session:
        yield session


# GET and HEAD get a session that reads; the other methods a transaction.
# scope="function" commits before the response is sent. By default FastAPI ends a dependency after
# the response: a client would get a 201 although the commit then fails.
SessionDep = Annotated[AsyncSession, Depends(get_session, scope="function")]


def is_unavailable(error: BaseException) -> bool:
    """Whether the error means that Postgres is down, slow, locked or out of connections."""
    return as_unavailable(error) is not None


def as_unavailable(error: BaseException) -> Unavailable | None:
    """What to tell a client whose request Postgres did not answer. None for any other error."""
    cause = error.orig if isinstance(error, exc.DBAPIError) else error
    match cause:
        case PoolIsFull():
            answer: Unavailable = Overloaded("Too many requests wait for the database. Try again.")
        case psycopg.errors.LockNotAvailable() | psycopg.errors.DeadlockDetected():
            answer = RowsLocked("Somebody else is changing the same data. Try again.")
        case psycopg.errors.QueryCanceled():
            answer = QueryTimedOut(
                "The database took too long for this. Try again, or ask for less."
            )
        case psycopg.errors.ReadOnlySqlTransaction():
            answer = DependencyUnavailable("The database is read-only at the moment. Try again.")
        case _ if _is_lost(error, cause):
            answer = DependencyUnavailable("The database does not answer. Try again.")
        case _:
            return None
    return answer


def _is_lost(error: BaseException, cause: BaseException | None) -> bool:
    """Whether there was no connection, or it broke."""
    if isinstance(error, exc.DBAPIError) and error.connection_invalidated:
        return True
    lost = (exc.TimeoutError, exc.OperationalError, exc.InterfaceError)
    return isinstance(error, lost) or isinstance(
        cause, (psycopg.OperationalError, psycopg.InterfaceError)
    )
