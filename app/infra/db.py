"""Postgres: the engine, the session of a request, and what bounds the time both may take.

The service never waits on a database without a limit. Three of them are the client's: connecting,
waiting for a free connection, and how long one is lent. The last is enforced by shutting the
socket, because a server that is frozen rather than dead answers no cancel request either.
"""

import asyncio
import os
import select
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

import psycopg
import structlog
from fastapi import Depends, Request
from psycopg.conninfo import make_conninfo
from sqlalchemy import MetaData, event, exc, text
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase

from app.config import Settings

log = structlog.get_logger(__name__)

# Connections kept out of the pool's sum: health (1), and room for psql, migrations and backups.
RESERVED_CONNECTIONS = 5

Sessions = async_sessionmaker[AsyncSession]
Hook = Callable[[], Awaitable[None]]


class Base(DeclarativeBase):
    """All tables. The names of constraints are fixed, so that a migration can drop them."""

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
    """The libpq connection string; `name` is what pg_stat_activity shows."""
    return make_conninfo(
        settings.database_dsn,
        application_name=name,
        connect_timeout=2,  # libpq's own minimum; `open_connection` is stricter
        keepalives_idle=10,
        keepalives_interval=5,
        keepalives_count=3,
        options=f"-c statement_timeout={int(statement_timeout * 1000)} -c timezone=UTC",
    )


async def open_connection(conninfo: str, *, limit: float) -> psycopg.AsyncConnection[Any]:
    """Connect within `limit` seconds or raise `psycopg.OperationalError`."""
    try:
        async with asyncio.timeout(limit):
            return await psycopg.AsyncConnection.connect(conninfo)
    except TimeoutError:
        raise psycopg.errors.ConnectionTimeout(f"no connection within {limit} s") from None


def make_engine(settings: Settings, *, name: str, lend_limit: float | None = None) -> AsyncEngine:
    """An engine whose connections are lent for at most `lend_limit` seconds each.

    A fixed pool without overflow: under load the default one opens and closes connections all
    the time.
    """
    limit = settings.database_lend_limit if lend_limit is None else lend_limit
    conninfo = connect_arguments(settings, name=name, statement_timeout=limit)

    async def connect() -> psycopg.AsyncConnection[Any]:
        return await open_connection(conninfo, limit=settings.database_connect_timeout)

    engine = create_async_engine(
        "postgresql+psycopg://",
        async_creator=connect,
        hide_parameters=True,  # an error that is logged names no URL and no hash
        pool_size=settings.database_pool_size,
        max_overflow=0,
        pool_timeout=settings.database_pool_timeout,
    )
    event.listen(engine.sync_engine, "checkout", _refuse_closed_connection)
    event.listen(engine.sync_engine, "checkout", _LendLimit(limit).start)
    event.listen(engine.sync_engine, "checkin", _LendLimit.stop)
    return engine


def _descriptor(dbapi_connection: Any) -> int:
    return int(dbapi_connection.driver_connection.fileno())


def _refuse_closed_connection(dbapi_connection: Any, _record: Any, _proxy: Any) -> None:
    """Replace an idle connection that the server has closed, at the price of one poll(2).

    An idle connection has nothing to read; if it has, that is the server's farewell. A pre-ping
    would find out too, for a round trip on every request.
    """
    poll = select.poll()
    try:
        poll.register(_descriptor(dbapi_connection), select.POLLIN)
    except psycopg.OperationalError as error:
        raise exc.DisconnectionError("the connection is closed") from error
    if poll.poll(0):
        raise exc.DisconnectionError("the server closed this idle connection")


class _LendLimit:
    """Shuts the socket of a connection that is not given back in time.

    The query in flight then fails like that of a server that died, the pool drops the connection,
    and the request answers 503. Cancelling the task instead would wait for the server twice: for
    the cancel request, and for the query's end.
    """

    KEY = "lend_limit"

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
            return  # it is closed already
        log.warning("database_lend_limit", seconds=self.seconds)
        # The socket object closes its descriptor, and the driver's must stay the driver's.
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


def make_sessions(bind: AsyncEngine | AsyncConnection) -> Sessions:
    return async_sessionmaker(bind, expire_on_commit=False, autoflush=False)


def after_commit(session: AsyncSession, hook: Hook) -> None:
    """Have `hook` awaited once the session's transaction is durable, and never if it fails.

    The place to enqueue a job or write a cache: what they tell others is then true.
    """
    session.info.setdefault("after_commit", []).append(hook)


@asynccontextmanager
async def transaction(sessions: Sessions) -> AsyncIterator[AsyncSession]:
    """A session that is committed at the end, or rolled back by an exception; then its hooks."""
    async with sessions() as session:
        yield session
        await session.commit()
        hooks: list[Hook] = session.info.pop("after_commit", [])
    for hook in hooks:
        await hook()


async def get_session(request: Request) -> AsyncIterator[AsyncSession]:
    async with transaction(request.state.resources.sessions) as session:
        yield session


# scope="function": the commit comes before the response. With a plain `yield` dependency FastAPI
# answers 201 first, and a commit that then fails has been reported as a success.
SessionDep = Annotated[AsyncSession, Depends(get_session, scope="function")]


def is_unavailable(error: BaseException) -> bool:
    """Whether this error says that Postgres, not the request, is at fault."""
    if isinstance(error, exc.DBAPIError):
        return error.connection_invalidated or isinstance(
            error, (exc.OperationalError, exc.InterfaceError)
        )
    return isinstance(error, (exc.TimeoutError, psycopg.OperationalError))


async def check_capacity(engine: AsyncEngine, settings: Settings) -> None:
    """Log what the pools may take of max_connections; refuse to start when it can't fit.

    Raises `ValueError`. A database that does not answer now is no reason not to start.
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
