"""How Alembic runs here: one migration at a time, and never waiting on a lock for long.

An advisory lock makes simultaneous runs queue up; each but the first finds nothing left to do.
A lock_timeout keeps a migration from blocking the service behind a lock that it waits for: it
fails instead, changes nothing, and can be run again.
"""

import time

from alembic import context
from sqlalchemy import create_engine, pool, text
from sqlalchemy.engine import Connection, make_url

from app.config import Settings
from app.infra.db import Base
from app.registry import FEATURES

assert FEATURES, "importing the registry registers every feature's tables"

# Any number, but always the same one: it names the lock within this database.
ADVISORY_LOCK = 7_232_371
LOCK_TIMEOUT = "3s"  # requests give up sooner than that
OLDEST_POSTGRES = 180000  # uuidv7() came with 18
QUEUE_FOR = 300.0  # seconds to wait for another run


def migrate() -> None:
    settings = context.config.attributes.get("settings") or Settings.load()
    url = make_url(settings.database_dsn).set(drivername="postgresql+psycopg")
    engine = create_engine(
        url,
        poolclass=pool.NullPool,
        connect_args={"application_name": "drydock-migrate", "connect_timeout": 10},
    )
    with engine.connect() as connection:
        _check_version(connection)
        _wait_for_turn(connection)
        connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
        connection.commit()
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            compare_server_default=True,
            # One transaction each: a failing migration leaves those before it done, and no trace.
            transaction_per_migration=True,
        )
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


def _check_version(connection: Connection) -> None:
    number = int(connection.scalar(text("SHOW server_version_num")) or 0)
    if number < OLDEST_POSTGRES:
        raise RuntimeError(f"PostgreSQL 18 or newer is needed; this server is {number // 10000}")


def _wait_for_turn(connection: Connection) -> None:
    """Take the lock, which the end of the session gives back, however it ends."""
    give_up = time.monotonic() + QUEUE_FOR
    # Asking again and again, not waiting in the server: a session that waits there holds a
    # snapshot, for which CREATE INDEX CONCURRENTLY in the other run would wait in turn.
    while not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": ADVISORY_LOCK}):
        connection.commit()
        if time.monotonic() > give_up:
            raise TimeoutError("another migration holds the lock: see pg_stat_activity")
        time.sleep(0.2)


migrate()
