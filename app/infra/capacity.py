"""Whether the connections of all processes fit into what Postgres allows."""

import psycopg
import structlog
from sqlalchemy import exc, text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.config import Settings

log = structlog.get_logger(__name__)

RESERVED_CONNECTIONS = 5  # for psql, migrations and backups
AT_A_DEPLOY = 2  # the old containers and the new ones run at the same time

# What is left for a role that is no superuser.
AVAILABLE = text("""
    SELECT current_setting('max_connections')::int
        - current_setting('superuser_reserved_connections')::int
        - current_setting('reserved_connections')::int
""")


def count_connections(settings: Settings) -> int:
    """The most that all processes open together.

    A web process has its pool and one connection for health checks, the worker has its pool.
    """
    web = settings.web_concurrency * settings.replicas * AT_A_DEPLOY
    pools = settings.database_pool_size * (web + 1)
    return pools + web + RESERVED_CONNECTIONS


async def check_capacity(engine: AsyncEngine, settings: Settings) -> None:
    """Raise `ValueError` if all processes together may open more connections than there are.

    If the database does not answer, the check is skipped.
    """
    try:
        async with engine.connect() as connection:
            available = int((await connection.execute(AVAILABLE)).scalar_one())
    except (exc.SQLAlchemyError, psycopg.Error) as error:
        log.warning("database_capacity_unknown", error=type(error).__name__)
        return
    wanted = count_connections(settings)
    log.info("database_capacity", wanted=wanted, available=available)
    if wanted > available:
        raise ValueError(
            f"{wanted} connections may be needed, but Postgres allows {available}: lower one of "
            "DATABASE_POOL_SIZE, WEB_CONCURRENCY and REPLICAS, or raise max_connections. Needed: "
            "(DATABASE_POOL_SIZE + 1 for health checks) x WEB_CONCURRENCY x REPLICAS x "
            f"{AT_A_DEPLOY} during a deploy + DATABASE_POOL_SIZE for the worker + "
            f"{RESERVED_CONNECTIONS} for psql, migrations and backups"
        )
