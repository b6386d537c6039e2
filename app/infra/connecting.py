"""Connecting to Postgres: what a connection asks of the server, and the time limit to open one."""

import asyncio
from collections.abc import Iterable
from typing import Any, TypeAlias

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from app.config import Settings
from app.infra.cancelling import cancel_all

Connection: TypeAlias = psycopg.AsyncConnection[Any]

# Parts of the checkout limit. The server's own limits end a query before the client shuts the
# socket, so the client learns the reason, and the connection can be used again.
LOCK_LIMIT = 0.5
STATEMENT_LIMIT = 0.8
# The client ends a transaction after one checkout limit, unless it has vanished.
IDLE_LIMIT = 2.0

# After these times, each end takes the other one for vanished. The system's own are two hours.
KEEPALIVES = {"idle": 10, "interval": 5, "count": 3}  # seconds, seconds, probes
UNACKNOWLEDGED = 20_000  # milliseconds

POOLER = """\
DATABASE_URL leads to a connection pooler. Set DATABASE_POOLED=true. If the pooler still refuses the
connection then, it is too old: PgBouncer 1.21 or newer is needed.\
"""


class PoolerRefused(psycopg.OperationalError):
    """A connection pooler refused a startup parameter that Postgres takes."""


def connect_arguments(settings: Settings, *, name: str, limit: float) -> str:
    """The libpq connection string. pg_stat_activity shows `name`.

    A query may take a little less than `limit` seconds, and wait half as long for a lock. If the
    URL names several hosts, the one that accepts writes is used. A pooler takes no limits of a
    session, because the session's connection serves others too: only the client's limits hold.
    """
    milliseconds = {
        "lock_timeout": LOCK_LIMIT * limit,
        "statement_timeout": STATEMENT_LIMIT * limit,
        "idle_in_transaction_session_timeout": IDLE_LIMIT * limit,
    }
    of_server = {name: int(seconds * 1000) for name, seconds in milliseconds.items()}
    of_server |= {f"tcp_keepalives_{name}": value for name, value in KEEPALIVES.items()}
    of_server["tcp_user_timeout"] = UNACKNOWLEDGED
    if settings.database_pooled:
        of_server = {}
    options = "".join(f"-c {name}={value} " for name, value in of_server.items())
    return make_conninfo(
        dsn_of(settings),
        application_name=name,
        connect_timeout=2,  # libpq's minimum; `open_connection` has a shorter limit
        tcp_user_timeout=UNACKNOWLEDGED,
        options=f"{options}-c timezone=UTC",
        **{f"keepalives_{name}": value for name, value in KEEPALIVES.items()},
    )


def dsn_of(settings: Settings) -> str:
    """DATABASE_URL as a connection string. Of several hosts, only a primary is wanted."""
    parts = conninfo_to_dict(settings.database_dsn)
    if "," in str(parts.get("host")):
        parts.setdefault("target_session_attrs", "read-write")
    return make_conninfo("", **parts)


async def open_connection(conninfo: str, *, limit: float, pooled: bool) -> Connection:
    """Connect within `limit` seconds or raise `psycopg.OperationalError`.

    With `pooled` no statement is prepared: it may be executed on another connection of the pooler.

    Several hosts are tried at the same time, and the first that accepts is used. One after the
    other, a host that does not answer would use up the limit.
    """
    tries = [
        asyncio.create_task(psycopg.AsyncConnection.connect(one, autocommit=True))
        for one in _hosts_of(conninfo)
    ]
    used = None
    try:
        async with asyncio.timeout(limit):
            used = await _first(tries)
        if pooled:
            used.prepare_threshold = None
    except TimeoutError:
        raise psycopg.errors.ConnectionTimeout(f"no connection within {limit} s") from None
    finally:
        await cancel_all(tries)
        for done in tries:
            if not done.cancelled() and done.exception() is None and done.result() is not used:
                done.result().pgconn.finish()
    return used


async def _first(tries: Iterable["asyncio.Task[Connection]"]) -> Connection:
    """The first connection that is made. Raises the last failure if there is none."""
    failure: psycopg.Error = psycopg.OperationalError("DATABASE_URL names no host")
    for attempt in asyncio.as_completed(tries):
        try:
            return await attempt
        except psycopg.OperationalError as error:
            refused = "unsupported startup parameter" in str(error)
            failure = PoolerRefused(POOLER) if refused else error
    raise failure


def _hosts_of(conninfo: str) -> list[str]:
    """A connection string for each host in this one."""
    parts = conninfo_to_dict(conninfo)
    hosts = str(parts.get("host", "")).split(",")
    ports = str(parts.get("port", "")).split(",")
    if len(hosts) == 1:
        return [conninfo]
    ports *= len(hosts) if len(ports) == 1 else 1
    pairs = zip(hosts, ports, strict=True)
    return [make_conninfo(conninfo, host=host, port=port) for host, port in pairs]
