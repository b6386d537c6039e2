"""Real servers for `make dev` and for tests: the two functions that others call.

with scratch_folder() as folder, start_postgres(folder / "postgres") as postgres:
    connect(postgres.url)
    postgres.kill()
    postgres.start()
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from dev.accounts import scratch_folder
from dev.postgres import PostgresServer
from dev.processes import Patience
from dev.redis import RedisServer

__all__ = ["PostgresServer", "RedisServer", "scratch_folder", "start_postgres", "start_redis"]

UNCHANGED: Mapping[str, str] = MappingProxyType({})


def start_postgres(
    folder: Path,
    *,
    port: int | None = None,
    settings: Mapping[str, str] = UNCHANGED,
    log: Path | None = None,
    patience: Patience | None = None,
) -> PostgresServer:
    """Start Postgres on the data in the folder, made if there is none, on 127.0.0.1 only.

    Without a port it takes a free one. The settings are those of postgresql.conf.
    """
    server = PostgresServer(folder, port=port, settings=settings, log=log, patience=patience)
    server.start()
    return server


def start_redis(
    folder: Path,
    *,
    port: int | None = None,
    settings: Mapping[str, str] = UNCHANGED,
    log: Path | None = None,
    patience: Patience | None = None,
) -> RedisServer:
    """Start Redis on the data in the folder, made if there is none, on 127.0.0.1 only.

    Without a port it takes a free one. It keeps what it acknowledged, through SIGKILL too;
    the settings are those of redis.conf and come on top.
    """
    server = RedisServer(folder, port=port, settings=settings, log=log, patience=patience)
    server.start()
    return server
