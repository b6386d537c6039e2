"""The whole service in this process, its lifespan included, on a database of one test's own.

For tests of real commits, of several connections at once, of a schema that is behind, and of the
start and the stop. Each database is a copy of the migrated one.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, MutableMapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
from psycopg import sql
from pydantic import PostgresDsn, Secret
from redis import Redis
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.config import Settings
from app.features.tokens.scopes import declared_scopes
from app.features.tokens.service import create_token
from app.features.tokens.sessions import open_session
from app.infra.db import Sessions, transaction
from app.infra.http.limits import RateLimiter
from app.infra.lifespan import Resources
from app.main import create_app
from dev.postgres import NAME, OWNER, as_role
from dev.redis import as_admin
from dev.servers import PostgresServer

ROOT = Path(__file__).parent.parent
BASE_URL = "http://testserver"


async def issue_token(sessions: Sessions, *scopes: str, name: str = "test") -> str:
    """A token for these scopes, or for everything."""
    async with transaction(sessions) as session:
        _, text = await create_token(session, name=name, scopes=scopes or [*declared_scopes()])
    return text


async def issue_session(sessions: Sessions, *scopes: str, name: str = "test") -> str:
    """The cookie's text of a browser that signed in with a token for these scopes."""
    token_id = UUID((await issue_token(sessions, *scopes, name=name)).split("_")[1])
    async with transaction(sessions) as session:
        return await open_session(session, token_id=token_id, seconds=3600)


class WithState:
    """Gives each request the state of the lifespan, as a server does; httpx runs no lifespan."""

    def __init__(self, app: ASGIApp, state: MutableMapping[str, Any]) -> None:
        self.app = app
        self.state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app({**scope, "state": dict(self.state)}, receive, send)


def client_of(app: ASGIApp, *, peer: str = "127.0.0.1") -> httpx.AsyncClient:
    """A client at the address `peer`."""
    transport = httpx.ASGITransport(app=app, client=(peer, 50_000))
    return httpx.AsyncClient(transport=transport, base_url=BASE_URL)


def client_under(app: WithState, *, peer: str = "127.0.0.1", **changed: Any) -> httpx.AsyncClient:
    """A client of the same service under other settings."""
    resources: Resources = app.state["resources"]
    settings = resources.settings.model_copy(update=changed)
    limiter = RateLimiter(settings, resources.redis, resources.breaker)
    state = {**app.state, "resources": replace(resources, settings=settings, limiter=limiter)}
    return client_of(WithState(create_app(settings), state), peer=peer)


@dataclass(frozen=True)
class Live:
    """A started service."""

    app: ASGIApp
    client: httpx.AsyncClient
    resources: Resources

    async def sign_in(self, *scopes: str) -> None:
        """Give the client a token, one for everything unless scopes are named."""
        token = await issue_token(self.resources.sessions, *scopes)
        self.client.headers["Authorization"] = f"Bearer {token}"


@asynccontextmanager
async def started(app: ASGIApp) -> AsyncIterator[MutableMapping[str, Any]]:
    """Run the application's lifespan, as a server would. Yields the state that it gives."""
    told: asyncio.Queue[Message] = asyncio.Queue()
    answers: asyncio.Queue[Message] = asyncio.Queue()
    state: MutableMapping[str, Any] = {}
    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": state}
    told.put_nowait({"type": "lifespan.startup"})
    running = asyncio.ensure_future(app(scope, told.get, answers.put))
    if (await answers.get())["type"] != "lifespan.startup.complete":
        await running  # raises what made the start fail
    try:
        yield state
    finally:
        told.put_nowait({"type": "lifespan.shutdown"})
        assert (await answers.get())["type"] == "lifespan.shutdown.complete"
        await running


@asynccontextmanager
async def run_service(settings: Settings) -> AsyncIterator[Live]:
    app = create_app(settings)
    async with started(app) as state:
        whole = WithState(app, state)
        async with client_of(whole) as client:
            yield Live(whole, client, state["resources"])


def as_owner(settings: Settings) -> Settings:
    """These settings, for the role that owns the tables."""
    url = as_role(settings.database_dsn, OWNER)
    return settings.model_copy(update={"database_url": Secret(PostgresDsn(url))})


def redis_admin(settings: Settings) -> Redis:
    """A Redis client with all rights; the service's client has fewer."""
    return Redis.from_url(as_admin(settings.redis_dsn), decode_responses=True)


def query(settings: Settings, statement: str) -> list[tuple[Any, ...]]:
    """Run SQL as the role that owns the tables."""
    with psycopg.connect(as_owner(settings).database_dsn) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


@contextmanager
def own_database(postgres: PostgresServer, *, template: str = "") -> Iterator[str]:
    """The service's URL of a new database, with all that `template` holds.

    Nobody may be connected to the template meanwhile.
    """
    name = f"own_{uuid4().hex}"
    names = {
        "name": sql.Identifier(name),
        "template": sql.Identifier(template or "template1"),
        "owner": sql.Identifier(OWNER),
    }
    admin = as_role(postgres.url, NAME)
    with psycopg.connect(admin, dbname="postgres", autocommit=True) as connection:
        create = sql.SQL("CREATE DATABASE {name} TEMPLATE {template} OWNER {owner}")
        connection.execute(create.format(**names))
        if not template:
            postgres.make_roles(name)
        yield f"{postgres.url.rpartition('/')[0]}/{name}"
        # FORCE: what a test leaves behind must not fail the next one.
        drop = sql.SQL("DROP DATABASE {name} WITH (FORCE)")
        connection.execute(drop.format(**names))
