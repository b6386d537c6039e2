"""The fixtures of all tests: a real Postgres and Redis, the migrated schema, clients.

Each pytest process starts its own servers, so no test can touch a developer's data, and several
processes can run at once. All requests of a test share one connection and one transaction, which is
rolled back at the end; a commit of the service is a savepoint in it.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import httpx
import hypothesis
import pytest
import structlog
from pydantic import PostgresDsn, RedisDsn, Secret
from redis import Redis
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from starlette.types import ASGIApp

from app.config import Settings
from app.health import Health
from app.infra.db import Sessions, make_engine
from app.infra.feature import Panel, open_features
from app.infra.lifespan import Resources, open_resources
from app.infra.metrics import Metrics
from app.main import create_api, create_app
from app.registry import FEATURES, SETTINGS
from dev.redis import as_admin
from dev.servers import PostgresServer, RedisServer, scratch_folder, start_postgres, start_redis
from tests.live import (
    BASE_URL,
    Live,
    WithState,
    client_of,
    client_under,
    issue_session,
    issue_token,
    own_database,
    redis_admin,
    run_service,
)
from tests.logs import forget_first_use
from tests.service import App, Service, migrate, running_service, serve

# No deadline: how long an example takes depends on how busy the machine is.
hypothesis.settings.register_profile("drydock", deadline=None, database=None, max_examples=50)
hypothesis.settings.load_profile("drydock")


@pytest.fixture(scope="session", autouse=True)
def own_environment() -> Iterator[None]:
    """No setting of the shell that runs the tests takes part in them."""
    kept = dict(os.environ)
    for name in {
        *Settings.model_fields,
        *(name for kind in SETTINGS for name in kind.model_fields),
    }:
        os.environ.pop(name.upper(), None)
    yield
    os.environ.update(kept)


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """Undo a test's configuration of logging: it writes to a stdout that is closed afterwards."""
    before = structlog.get_config()
    yield
    if structlog.get_config() != before:
        structlog.configure(**before)
        forget_first_use()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    # The fault tests are about durability. Here it would only take time.
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
        public_url=BASE_URL,
        allowed_hosts=("testserver",),
        metrics_port=0,
        # Longer, since the machine may be busy; the fault tests use the real timeout.
        redis_timeout=2.0,
    )


@pytest.fixture(scope="session")
def migrated(settings: Settings) -> Settings:
    migrate(settings)
    return settings


@pytest.fixture
async def resources(migrated: Settings) -> AsyncIterator[Resources]:
    """The service's own composition, its sessions inside a transaction that is rolled back."""
    engine = make_engine(migrated, name="tests", checkout_limit=60)
    async with (
        engine.connect() as connection,
        connection.begin() as outer,
        open_resources(migrated, name="tests", metrics=Metrics(migrated)) as opened,
    ):
        sessions = async_sessionmaker(
            connection,
            class_=AsyncSession,
            expire_on_commit=False,
            autoflush=False,
            join_transaction_mode="create_savepoint",
        )
        isolated = replace(opened, sessions=Sessions(sessions, sessions))
        async with open_features(isolated, FEATURES):
            with redis_admin(migrated) as admin:
                admin.flushall()
            yield isolated
        await outer.rollback()
    await engine.dispose()


@pytest.fixture(scope="session")
def created(migrated: Settings) -> ASGIApp:
    """One application for all tests, since the first is slow. It holds no state of a test."""
    return create_app(migrated)


@pytest.fixture(scope="session")
def document(settings: Settings) -> dict[str, Any]:
    """The OpenAPI document."""
    return create_api(settings, Metrics(settings)).openapi()


@pytest.fixture
async def app(
    created: ASGIApp, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[WithState]:
    monkeypatch.setattr(Panel, "LIMIT", 30)  # a busy machine may exceed the real one
    async with Health.opened(resources) as health:
        yield WithState(created, {"resources": resources, "health": health})


@pytest.fixture
async def client(app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    """Without credentials. Follows no redirect and hides no exception."""
    async with client_of(app) as client:
        yield client


MakeToken = Callable[..., Awaitable[str]]


@pytest.fixture
def make_token(resources: Resources) -> MakeToken:
    return partial(issue_token, resources.sessions)


@pytest.fixture
def make_session(resources: Resources) -> MakeToken:
    """Like `make_token`, for the cookie of a browser."""
    return partial(issue_session, resources.sessions)


@pytest.fixture
async def api(client: httpx.AsyncClient, make_token: MakeToken) -> httpx.AsyncClient:
    """The client with a token that may do everything."""
    client.headers["Authorization"] = f"Bearer {await make_token()}"
    return client


@pytest.fixture(scope="session")
def served(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The web side as a process, on a database and a Redis of its own."""
    with (
        scratch_folder() as scratch,
        start_redis(scratch / "redis") as redis,
        own_database(postgres) as database_url,
        serve(tmp_path_factory.mktemp("served"), database_url, redis) as app,
    ):
        yield app


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture
def service(running: Service) -> Service:
    """Each part of the service as a process. A test may break it; the next test repairs it."""
    running.restore()
    return running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the service's processes wrote, when a test with them fails."""
    report = yield
    running = getattr(item, "funcargs", {}).get("running")
    if report.failed and isinstance(running, Service):
        report.sections.extend(running.logs())
    return report


def pytest_xdist_auto_num_workers() -> int:
    """One process more than cores, since each waits for its servers at times; at most eight."""
    return min((os.cpu_count() or 1) + 1, 8)


MakeClient = Callable[..., httpx.AsyncClient]


@pytest.fixture
def make_client(app: WithState) -> MakeClient:
    """Make a client of the service under other settings, from another address."""
    return partial(client_under, app)


@pytest.fixture(scope="session")
def template(migrated: Settings, postgres: PostgresServer) -> Iterator[str]:
    """The name of a migrated database without connections, to make copies of."""
    source = migrated.database_dsn.rpartition("/")[2]
    with own_database(postgres, template=source) as copy:
        yield copy.rpartition("/")[2]


@pytest.fixture
def own_settings(migrated: Settings, template: str, postgres: PostgresServer) -> Iterator[Settings]:
    """A migrated database and an empty Redis for this test alone. Commits in it are real."""
    redis_url = f"{migrated.redis_dsn.rpartition('/')[0]}/1"
    with (
        Redis.from_url(as_admin(redis_url)) as redis,
        own_database(postgres, template=template) as database_url,
    ):
        redis.flushdb()
        urls = {
            "database_url": Secret(PostgresDsn(database_url)),
            "redis_url": Secret(RedisDsn(redis_url)),
        }
        yield migrated.model_copy(update=urls)


@pytest.fixture
async def live(own_settings: Settings) -> AsyncIterator[Live]:
    """The service, started, on `own_settings`."""
    async with run_service(own_settings) as service:
        yield service
