"""How Alembic runs migrations: one run at a time, and with a limit on waiting for locks.

An advisory lock makes simultaneous runs wait for each other. A lock_timeout ends a migration that
waits too long for a table's lock, because queries of the service would queue behind it. A migration
that was ended has changed nothing, and can be run again.

An index that is built concurrently is the exception: it waits for older transactions as long as
they last, and no query queues behind it. If it was interrupted, the next run builds it anew.
"""

import re
import time
from functools import partial
from typing import Any

import psycopg
import structlog
from alembic import context
from sqlalchemy import create_engine, event, pool, text
from sqlalchemy.engine import Connection

from app.config import Settings
from app.infra.connecting import POOLER, dsn_of
from app.infra.db import Base
from app.registry import FEATURES

log = structlog.get_logger("migrations")

assert FEATURES, "importing the registry registers every feature's tables"

# Any number. It identifies the lock within this database.
ADVISORY_LOCK = 7_232_371
LOCK_TIMEOUT = "3s"
OLDEST_POSTGRES = 180000  # uuidv7() came with 18
QUEUE_FOR = 300.0  # seconds to wait for another run
CONCURRENTLY = re.compile(r"\s*(CREATE|DROP|REINDEX)\b.*\bCONCURRENTLY\b", re.IGNORECASE)
CREATED = re.compile(
    r"\s*CREATE\s+(?:UNIQUE\s+)?INDEX\s+CONCURRENTLY\s+(?:IF\s+NOT\s+EXISTS\s+)?(\S+)\s+ON\b",
    re.IGNORECASE,
)


def migrate() -> None:
    settings = context.config.attributes.get("settings") or Settings.load().for_migrations()
    connect = partial(
        psycopg.connect, dsn_of(settings), application_name="drydock-migrate", connect_timeout=10
    )
    engine = create_engine("postgresql+psycopg://", poolclass=pool.NullPool, creator=connect)
    event.listen(engine, "before_cursor_execute", _prepare_concurrent_index)
    event.listen(engine, "after_cursor_execute", _limit_waiting_again)
    with engine.connect() as connection:
        _check_version(connection)
        _wait_for_turn(connection)
        connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
        connection.commit()
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            compare_server_default=True,
            # If a migration fails, only its own changes are rolled back.
            transaction_per_migration=True,
        )
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


def _check_version(connection: Connection) -> None:
    number = int(connection.scalar(text("SHOW server_version_num")) or 0)
    if number < OLDEST_POSTGRES:
        raise RuntimeError(f"PostgreSQL 18 or newer is needed; this server is {number // 10000}")
    # A pooler would keep the lock on its connection, and the next migration would wait for it.
    driver: Any = connection.connection.driver_connection
    told = driver.info.backend_pid
    if connection.scalar(text("SELECT pg_backend_pid()")) != told:
        raise RuntimeError(f"{POOLER} Give migrations a direct URL: DATABASE_MIGRATION_URL.")


def _wait_for_turn(connection: Connection) -> None:
    """Take the advisory lock. The end of the session releases it."""
    give_up = time.monotonic() + QUEUE_FOR
    # This polls, because a session that waits in the server holds a snapshot. CREATE INDEX
    # CONCURRENTLY in the other run would wait for that snapshot.
    while not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": ADVISORY_LOCK}):
        connection.commit()
        if time.monotonic() > give_up:
            raise TimeoutError("another migration holds the lock: see pg_stat_activity")
        time.sleep(0.2)


def _prepare_concurrent_index(
    _connection: Connection, cursor: Any, statement: str, *_arguments: Any
) -> None:
    """Let the statement wait for older transactions, such as a backup, without a limit.

    A time limit would end it and leave an INVALID index. One that was left so is dropped first.
    """
    if not CONCURRENTLY.match(statement):
        return
    log.info("waits_for_older_transactions", statement=statement.strip())
    cursor.execute("SET lock_timeout = 0")
    created = CREATED.match(statement)
    if created is None:
        return
    name = created[1]
    invalid = "SELECT FROM pg_index WHERE indexrelid = to_regclass(%s) AND NOT indisvalid"
    if cursor.execute(invalid, [name]).rowcount:
        log.warning("invalid_index_dropped", index=name)
        cursor.execute(f"DROP INDEX CONCURRENTLY {name}")


def _limit_waiting_again(
    _connection: Connection, cursor: Any, statement: str, *_arguments: Any
) -> None:
    if CONCURRENTLY.match(statement):
        cursor.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")


migrate()
