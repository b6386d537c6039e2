"""How many connections there may be: of all processes to Postgres, and of clients to this one."""

import resource

import psycopg
import structlog
from sqlalchemy import exc, text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.config import Settings
from app.infra.connecting import POOLER, PoolerRefused

log = structlog.get_logger(__name__)

RESERVED_CONNECTIONS = 5  # for psql, migrations and backups
AT_A_DEPLOY = 2  # the old containers and the new ones run at the same time

OPEN_FILES = 4096  # enough for `MAX_CONNECTIONS` and as many that are being refused

# A pooler tells its clients of a process that Postgres does not have.
IS_DIRECT = text("SELECT pg_backend_pid() = :told")

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

    Also if a pooler is in front that the settings do not name. Behind a pooler, its own settings
    say how many connections there are. If the database does not answer, the check is skipped.
    """
    if settings.database_pooled:
        log.info("database_pooled", server_limits="none", wanted=count_connections(settings))
        return
    try:
        async with engine.connect() as connection:
            driver = (await connection.get_raw_connection()).driver_connection
            assert driver is not None, "it has just been connected"
            told = driver.info.backend_pid
            if not (await connection.execute(IS_DIRECT, {"told": told})).scalar_one():
                raise ValueError(POOLER)
            available = int((await connection.execute(AVAILABLE)).scalar_one())
    except PoolerRefused as error:
        raise ValueError(POOLER) from error
    except (exc.SQLAlchemyError, psycopg.Error) as error:
        if isinstance(getattr(error, "orig", None), PoolerRefused):
            raise ValueError(POOLER) from error  # noqa: TRY004 -- not the type of a value is wrong
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


def raise_file_limit() -> None:
    """Let this process open 4,096 files, or as many as the system lets it choose.

    Many systems start a process with 1,024, or 256 on macOS. A process that has reached its limit
    closes new connections without an answer.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
