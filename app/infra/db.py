"""Postgres: the engine, the session of a request, and time limits.

Three limits bound how long a request waits for Postgres: to connect, to get a connection from the
pool, and to keep one checked out. The last one is enforced by shutting down the socket, because a
frozen server does not answer a cancel request either.

Connections are in autocommit mode, so a request that only reads needs one round trip for a query
and no BEGIN and COMMIT. A transaction that writes begins with a BEGIN of its own.
"""

import asyncio
import os
import select
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import psycopg
import structlog
from fastapi import Depends, Request
from psycopg.conninfo import make_conninfo
from sqlalchemy import Connection, MetaData, event, exc, text
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry
from sqlalchemy.util import await_only

from app.config import Settings

log = structlog.get_logger(__name__)

SAFE_METHODS = frozenset({"GET", "HEAD"})
READS = "drydock_reads"  # the execution option of connections that need no transaction
RESERVED_CONNECTIONS = 5  # outside the pools: health checks, psql, migrations, backups

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


def connect_arguments(settings: Settings, *, name: str, statement_timeout: float) -> str:
    """The libpq connection string. pg_stat_activity shows `name`."""
    return make_conninfo(
        settings.database_dsn,
        application_name=name,
        connect_timeout=2,  # libpq's minimum; `open_connection` has a shorter limit
        keepalives_idle=10,
        keepalives_interval=5,
        keepalives_count=3,
        options=f"-c statement_timeout={int(statement_timeout * 1000)} -c timezone=UTC",
    )


async def open_connection(conninfo: str, *, limit: float) -> psycopg.AsyncConnection[Any]:
    """Connect within `limit` seconds or raise `psycopg.OperationalError`."""
    try:
        async with asyncio.timeout(limit):
            return await psycopg.AsyncConnection.connect(conninfo, autocommit=True)
    except TimeoutError:
        raise psycopg.errors.ConnectionTimeout(f"no connection within {limit} s") from None


class FairPool(AsyncAdaptedQueuePool):
    """A pool that lends connections in the order in which they were asked for.

    SQLAlchemy's own serves newcomers before those who wait. Under load some requests would wait
    for seconds.
    """

    def __init__(self, creator: Any, pool_size: int, **options: Any) -> None:
        super().__init__(creator, pool_size, **options)
        self._turns = asyncio.Semaphore(pool_size)

    def _do_get(self) -> ConnectionPoolEntry:
        await_only(self._take_turn())
        try:
            return super()._do_get()
        except BaseException:
            self._turns.release()
            raise

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        super()._do_return_conn(record)
        self._turns.release()

    async def _take_turn(self) -> None:
        if not self._turns.locked():
            await self._turns.acquire()  # at once
            return
        limit = self.timeout()
        try:
            async with asyncio.timeout(limit):
                await self._turns.acquire()
        except TimeoutError:
            raise exc.TimeoutError(f"no connection was free within {limit} s") from None


def make_engine(
    settings: Settings, *, name: str, checkout_limit: float | None = None
) -> AsyncEngine:
    """An engine whose connections may be checked out for at most `checkout_limit` seconds.

    The pool has a fixed size. With SQLAlchemy's default overflow it would open and close
    connections all the time under load.
    """
    limit = settings.database_checkout_limit if checkout_limit is None else checkout_limit
    conninfo = connect_arguments(settings, name=name, statement_timeout=limit)

    async def connect() -> psycopg.AsyncConnection[Any]:
        return await open_connection(conninfo, limit=settings.database_connect_timeout)

    engine = create_async_engine(
        "postgresql+psycopg://",
        async_creator=connect,
        hide_parameters=True,  # errors are logged, and values may be secret
        poolclass=FairPool,
        pool_size=settings.database_pool_size,
        max_overflow=0,
        pool_timeout=settings.database_pool_timeout,
    )
    event.listen(engine.sync_engine, "checkout", _refuse_closed_connection)
    event.listen(engine.sync_engine, "checkout", _CheckoutLimit(limit).start)
    event.listen(engine.sync_engine, "checkin", _CheckoutLimit.stop)
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


def _begin(connection: Connection) -> None:
    if not connection.get_execution_options().get(READS):
        connection.exec_driver_sql("BEGIN")


def _descriptor(dbapi_connection: Any) -> int:
    return int(dbapi_connection.driver_connection.fileno())


def _refuse_closed_connection(dbapi_connection: Any, _record: Any, _proxy: Any) -> None:
    """Make the pool replace an idle connection that the server has closed.

    An idle connection becomes readable only when the server closes it. A call of poll(2) shows
    that. SQLAlchemy's `pool_pre_ping` needs a round trip for each request.
    """
    poll = select.poll()
    try:
        poll.register(_descriptor(dbapi_connection), select.POLLIN)
    except psycopg.OperationalError as error:
        raise exc.DisconnectionError("the connection is closed") from error
    if poll.poll(0):
        raise exc.DisconnectionError("the server closed this idle connection")


class _CheckoutLimit:
    """Shuts down the socket of a connection that is not returned to the pool in time.

    The running query then fails as if the server had died, the pool drops the connection, and the
    request answers 503. Cancelling the task would not help: the driver would first wait for the
    server to cancel the query.
    """

    KEY = "checkout_limit"

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def start(self, dbapi_connection: Any, record: Any, _proxy: Any) -> None:
        loop = asyncio.get_running_loop()
        handle = loop.call_later(self.seconds, self._shut, dbapi_connection)
        record.info[self.KEY] = handle

    def _shut(self, dbapi_connection: Any) -> None:
        try:
            descriptor = _descriptor(dbapi_connection)
        except psycopg.OperationalError:
            return  # already closed
        log.warning("database_checkout_limit", seconds=self.seconds)
        # A duplicate, because the socket object closes its descriptor at the end.
        with socket.socket(fileno=os.dup(descriptor)) as duplicate:
            try:
                duplicate.shutdown(socket.SHUT_RDWR)
            except OSError as error:
                log.debug("database_socket_was_shut", error=str(error))

    @classmethod
    def stop(cls, _dbapi_connection: Any, record: Any) -> None:
        handle = record.info.pop(cls.KEY, None)
        if handle is not None:
            handle.cancel()


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
    """Whether the error means that Postgres is down, slow or out of connections."""
    if isinstance(error, exc.DBAPIError):
        return error.connection_invalidated or isinstance(
            error, (exc.OperationalError, exc.InterfaceError)
        )
    return isinstance(error, (exc.TimeoutError, psycopg.OperationalError))


async def check_capacity(engine: AsyncEngine, settings: Settings) -> None:
    """Raise `ValueError` if the pools of all processes together exceed max_connections.

    If the database does not answer, the check is skipped.
    """
    try:
        async with engine.connect() as connection:
            query = text("SELECT current_setting('max_connections')::int")
            available = int((await connection.execute(query)).scalar_one())
    except (exc.SQLAlchemyError, psycopg.Error) as error:
        log.warning("database_capacity_unknown", error=type(error).__name__)
        return
    processes = settings.web_concurrency * settings.replicas + 1  # and the worker
    wanted = settings.database_pool_size * processes + RESERVED_CONNECTIONS
    log.info("database_capacity", wanted=wanted, max_connections=available)
    if wanted > available:
        raise ValueError(
            "DATABASE_POOL_SIZE x (WEB_CONCURRENCY x REPLICAS + 1 for the worker) + "
            f"{RESERVED_CONNECTIONS} = {wanted} "
            f"connections, but Postgres allows {available}: lower one of them"
        )
