"""What all tests share: real servers of their own, the migrated schema, a client like any other.

Each pytest process starts its own Postgres and Redis, so no test can meet a developer's data, and
several processes can run at once. A test's requests all go through one connection inside one
transaction, which is rolled back; what the service commits is a savepoint in it.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from starlette.types import ASGIApp, Receive, Scope, Send

from app.config import Settings
from app.features.tokens.schemas import Scope as TokenScope
from app.features.tokens.service import create_token
from app.health import Health
from app.infra.db import make_engine, transaction
from app.infra.lifespan import Resources, open_resources, start_features
from app.infra.telemetry import Metrics
from app.main import create_app
from app.registry import FEATURES
from dev.servers import PostgresServer, RedisServer, scratch_folder, start_postgres, start_redis

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session", autouse=True)
def own_environment() -> Iterator[None]:
    """No setting of the shell that runs the tests takes part in them."""
    kept = dict(os.environ)
    for name in Settings.model_fields:
        os.environ.pop(name.upper(), None)
    yield
    os.environ.update(kept)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    # Durability is what the fault tests are about; here it would only cost time.
    quick = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    with scratch_folder() as folder, start_postgres(folder / "postgres", settings=quick) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with scratch_folder() as folder, start_redis(folder / "redis") as server:
        yield server


@pytest.fixture(scope="session")
def settings(postgres: PostgresServer, redis_server: RedisServer) -> Settings:
    return Settings(
        database_url=postgres.url,
        redis_url=redis_server.url,
        public_url="http://testserver",
        allowed_hosts=("testserver",),
        metrics_port=0,
        # Two loaded cores are no measure of a timeout; the fault tests run with the real one.
        redis_timeout=2.0,
    )


@pytest.fixture(scope="session")
def migrated(settings: Settings) -> Settings:
    config = Config(toml_file=ROOT / "pyproject.toml")
    config.attributes["settings"] = settings
    command.upgrade(config, "head")
    return settings


@pytest.fixture
async def resources(migrated: Settings) -> AsyncIterator[Resources]:
    """The service's own composition, its sessions inside a transaction that is rolled back."""
    engine = make_engine(migrated, name="tests", lend_limit=60)
    async with (
        engine.connect() as connection,
        connection.begin() as outer,
        open_resources(migrated, (), name="tests", metrics=Metrics(migrated)) as opened,
    ):
        sessions = async_sessionmaker(
            connection,
            class_=AsyncSession,
            expire_on_commit=False,
            autoflush=False,
            join_transaction_mode="create_savepoint",
        )
        isolated = replace(opened, sessions=sessions)
        async with _features(isolated):
            await isolated.redis.flushall()
            yield isolated
        await outer.rollback()
    await engine.dispose()


@asynccontextmanager
async def _features(resources: Resources) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        await start_features(stack, resources, FEATURES)
        yield


class WithState:
    """Gives each request what the lifespan would: httpx runs none."""

    def __init__(self, app: ASGIApp, resources: Resources, health: Health) -> None:
        self.app = app
        self.state = {"resources": resources, "health": health}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app({**scope, "state": dict(self.state)}, receive, send)


@pytest.fixture
async def app(migrated: Settings, resources: Resources) -> AsyncIterator[ASGIApp]:
    async with Health.opened(resources) as health:
        yield WithState(create_app(migrated), resources, health)


@pytest.fixture
async def client(app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    """Without credentials. Follows no redirect and hides no exception."""
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        yield client


MakeToken = Callable[..., Awaitable[str]]


@pytest.fixture
def make_token(resources: Resources) -> MakeToken:
    async def make(*scopes: TokenScope, name: str = "test") -> str:
        async with transaction(resources.sessions) as session:
            _, text = await create_token(session, name=name, scopes=list(scopes or TokenScope))
        return text

    return make


@pytest.fixture
async def api(client: httpx.AsyncClient, make_token: MakeToken) -> httpx.AsyncClient:
    """The client with a token that may do everything."""
    client.headers["Authorization"] = f"Bearer {await make_token()}"
    return client
