"""Postgres and Redis of one clone: servers that we start, or those that the settings name."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from dev import ports
from dev.files import LOCAL, ROOT, make_folder
from dev.lifecycle import Server
from dev.postgres import OWNER, as_role
from dev.processes import Patience
from dev.redis import as_admin
from dev.servers import PostgresServer, RedisServer


class Services(NamedTuple):
    """The URLs of Postgres and Redis, and the servers that we started."""

    database_url: str
    redis_url: str
    # The same for the owner of the tables and the administrator of Redis.
    database_owner_url: str
    redis_admin_url: str
    started: tuple[Server, ...]


@contextmanager
def services(
    given: Mapping[str, str], patience: Patience, say: Callable[[str], None]
) -> Iterator[Services]:
    """Start the servers that DATABASE_URL and REDIS_URL don't name. Data stays in .local/."""
    make_folder(LOCAL)
    kinds: dict[str, type[Server]] = {"DATABASE_URL": PostgresServer, "REDIS_URL": RedisServer}
    urls: dict[str, str] = {}
    started: list[Server] = []
    with ExitStack() as held:
        for variable, kind in kinds.items():
            if url := given.get(variable):
                say(f"{kind.name}: using {variable}")
                urls[variable] = url
                continue
            port = ports.claim(f"{kind.name.upper()}_PORT", given, held, say)
            server = kind.started(LOCAL / kind.name, port=port, patience=patience)
            started.append(held.enter_context(server))
            urls[variable] = server.url
            say(f"{kind.name}: 127.0.0.1:{port}, log in {server.log.relative_to(ROOT)}")
        database, redis = urls["DATABASE_URL"], urls["REDIS_URL"]
        yield Services(
            database,
            redis,
            database if given.get("DATABASE_URL") else as_role(database, OWNER),
            redis if given.get("REDIS_URL") else as_admin(redis),
            tuple(started),
        )
