"""Real servers for `make dev` and for tests.

with scratch_folder() as folder, start_postgres(folder / "postgres") as postgres:
    connect(postgres.url)
    postgres.kill()
    postgres.start()
"""

from dev.accounts import scratch_folder
from dev.postgres import PostgresServer
from dev.redis import RedisServer

__all__ = ["PostgresServer", "RedisServer", "scratch_folder", "start_postgres", "start_redis"]

start_postgres = PostgresServer.started
start_redis = RedisServer.started
