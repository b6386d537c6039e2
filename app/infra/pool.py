"""The pool of connections to Postgres: who gets the next one, and for how long."""

import asyncio
import os
import select
import socket
import time
from typing import Any

import psycopg
import structlog
from sqlalchemy import exc
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry
from sqlalchemy.util import await_only

log = structlog.get_logger(__name__)

# A process answers about this many requests in the time that they may wait. Those beyond would
# only wait for their refusal.
MOST_WAITING = 500


class PoolIsFull(exc.TimeoutError):
    """So many requests wait for a connection that this one does not."""


class FairPool(AsyncAdaptedQueuePool):
    """A pool that lends connections in the order in which they were asked for.

    SQLAlchemy's own serves newcomers before those who wait. Under load some requests would wait
    for seconds.
    """

    def __init__(self, creator: Any, pool_size: int, **options: Any) -> None:
        super().__init__(creator, pool_size, **options)
        self._turns = asyncio.Semaphore(pool_size)
        # For the metrics: who waits now; how many have waited, and for how many seconds; and how
        # many of all got no connection.
        self.waiting = 0
        self.waits = 0
        self.waited = 0.0
        self.refused = 0

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
        if self.waiting >= MOST_WAITING:
            self.refused += 1
            raise PoolIsFull(f"{self.waiting} others wait for a connection")
        limit = self.timeout()
        started = time.monotonic()
        self.waiting += 1
        try:
            async with asyncio.timeout(limit):
                await self._turns.acquire()
        except TimeoutError:
            self.refused += 1
            raise exc.TimeoutError(f"no connection was free within {limit} s") from None
        finally:
            self.waiting -= 1
            self.waits += 1
            self.waited += time.monotonic() - started


def _descriptor(dbapi_connection: Any) -> int:
    return int(dbapi_connection.driver_connection.fileno())


def refuse_closed_connection(dbapi_connection: Any, _record: Any, _proxy: Any) -> None:
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


class CheckoutLimit:
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
