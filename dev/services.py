"""Postgres and Redis for one clone: ours, or the ones that somebody named."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from dev import ports
from dev.clone import LOCAL, LOGS
from dev.files import make_folder
from dev.lifecycle import Server
from dev.processes import Patience
from dev.servers import start_postgres, start_redis


class Services(NamedTuple):
    """Where the two are, and those of them that we started."""

    database_url: str
    redis_url: str
    started: tuple[Server, ...]


@contextmanager
def services(
    given: Mapping[str, str], patience: Patience, say: Callable[[str], None]
) -> Iterator[Services]:
    """Run what is not given by DATABASE_URL and REDIS_URL; the data stays in .local/."""
    make_folder(LOCAL)
    make_folder(LOGS)
    database_url, redis_url = given.get("DATABASE_URL"), given.get("REDIS_URL")
    started: list[Server] = []
    with ExitStack() as held:
        if database_url:
            say("postgres: the one that DATABASE_URL names")
        else:
            port = ports.claim(ports.POSTGRES, given, held, say)
            postgres = start_postgres(
                LOCAL / "postgres", port=port, log=LOGS / "postgres.log", patience=patience
            )
            started.append(held.enter_context(postgres))
            database_url = postgres.url
            say(f"postgres: 127.0.0.1:{port}, log in .local/log/postgres.log")
        if redis_url:
            say("redis: the one that REDIS_URL names")
        else:
            port = ports.claim(ports.REDIS, given, held, say)
            redis = start_redis(
                LOCAL / "redis", port=port, log=LOGS / "redis.log", patience=patience
            )
            started.append(held.enter_context(redis))
            redis_url = redis.url
            say(f"redis: 127.0.0.1:{port}, log in .local/log/redis.log")
        yield Services(database_url, redis_url, tuple(started))
