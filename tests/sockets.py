"""Ports on which nobody listens, and servers that accept and stay silent."""

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import PostgresDsn, RedisDsn, Secret

from app.config import Settings
from dev.lifecycle import FREE_PORTS
from dev.ports import is_taken


def unused_port() -> int:
    """A port that was free a moment ago, and that the system gives to no outgoing connection."""
    return next(
        port for port in iter(lambda: random.choice(FREE_PORTS), None) if not is_taken(port)
    )


@contextmanager
def frozen_server() -> Iterator[int]:
    """The port of a server that accepts connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)  # the kernel accepts on its behalf
        yield listener.getsockname()[1]


def with_postgres_at(settings: Settings, port: int) -> Settings:
    url = f"postgresql://drydock:not-shown@127.0.0.1:{port}/drydock"
    return settings.model_copy(update={"database_url": Secret(PostgresDsn(url))})


def with_redis_at(settings: Settings, port: int) -> Settings:
    url = f"redis://:not-shown@127.0.0.1:{port}/0"
    return settings.model_copy(update={"redis_url": Secret(RedisDsn(url))})
