"""The whole service as processes, for tests that break one and watch the others.

Postgres, Redis, the app and the worker can each be killed, frozen and started again. `restore`
repairs what a test broke, so that many tests share one service. `served` has the app alone.
"""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import httpx
import psycopg
from alembic import command
from alembic.config import Config

from app.config import Settings
from app.features.tokens.scopes import declared_scopes
from app.features.tokens.service import create_token
from app.infra.db import make_engine, make_sessions, transaction
from dev.servers import PostgresServer, RedisServer, scratch_folder, start_postgres, start_redis
from tests.programs import App, Program
from tests.served import ROOT, environment_for

LOG_LINES, LOG_COLUMNS = 60, 400


class Service:
    """All of it, running and ready."""

    def __init__(self, postgres: PostgresServer, redis: RedisServer, folder: Path) -> None:
        self.postgres = postgres
        self.redis = redis
        self.folder = folder
        self.environment = environment_for(postgres.url, redis.url)
        self.app = App(self.environment, folder)
        self.worker = self._program("worker", name="worker")
        self.extras: list[Program] = []
        self.token = ""

    def command(self, *words: str, name: str = "", **overrides: str) -> Program:
        """`python -m app …`, not started yet, and ended with the test."""
        program = self._program(*words, name=name or words[0], **overrides)
        self.extras.append(program)
        return program

    def _program(self, *words: str, name: str, **overrides: str) -> Program:
        environment = {**self.environment, **overrides}
        return Program(name, [sys.executable, "-m", "app", *words], environment, self.folder)

    def begin(self) -> None:
        """Start the app and the worker, which wait for the schema, then migrate.

        The commands `migrate` and `token create` have tests of their own. To run them here would
        take another second each.
        """
        self.app.start()
        self.worker.start()
        settings = Settings(database_url=self.postgres.url, redis_url=self.redis.url)
        migrate(settings)
        self.token = asyncio.run(make_token(settings))

    def restore(self) -> None:
        """Repair what a test broke, end what it added, and return once `/health` is ok."""
        for program in self.extras:
            program.stop()
        self.extras.clear()
        for server in (self.postgres, self.redis):
            if server.process.poll() is None:
                server.thaw()
            else:
                server.start()
        for own in (self.app, self.worker):
            if not own.is_running:
                own.start()
        self.app.wait_until("/health")

    def stop(self) -> None:
        for program in (*self.extras, self.app, self.worker):
            program.kill()

    def another_app(
        self, *, server: Literal["uvicorn", "gunicorn"] = "uvicorn", **overrides: str
    ) -> App:
        """One more, started, on the same Postgres and Redis unless `overrides` say otherwise."""
        name = f"app{len(self.extras) + 2}"
        environment = {**self.environment, **overrides}
        app = App(environment, self.folder, name=name, server=server)
        self.extras.append(app)
        app.start()
        return app

    def client(self, app: App | None = None, **options: Any) -> httpx.AsyncClient:
        """With the token that may do everything."""
        headers = {"Authorization": f"Bearer {self.token}"}
        url = (app or self.app).url
        # verify=False: there is no TLS here, and to read the certificates takes 30 ms.
        return httpx.AsyncClient(base_url=url, headers=headers, timeout=20, verify=False, **options)

    def get(self, path: str) -> httpx.Response:
        """One request, for tests that need no more."""
        return httpx.get(self.app.url + path, timeout=20, verify=False)

    def query(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        """Ask the database past the service."""
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            cursor = connection.execute(sql.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def logs(self) -> Iterator[tuple[str, str]]:
        """The end of each process's output, to show when a test failed."""
        for log in sorted(self.folder.glob("*.log")):
            lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:]
            yield log.name, "\n".join(line[:LOG_COLUMNS] for line in lines)
        yield "postgres", self.postgres.tail()
        yield "redis", self.redis.tail()


def migrate(settings: Settings) -> None:
    config = Config(toml_file=ROOT / "pyproject.toml")
    config.attributes["settings"] = settings
    command.upgrade(config, "head")


async def make_token(settings: Settings) -> str:
    """One that may do everything."""
    engine = make_engine(settings, name="tests")
    try:
        async with transaction(make_sessions(engine)) as session:
            _, text = await create_token(session, name="faults", scopes=list(declared_scopes()))
    finally:
        await engine.dispose()
    return text


@contextmanager
def running_service(folder: Path) -> Iterator[Service]:
    """A service whose acknowledged data survives SIGKILL, unlike that of other tests."""
    with scratch_folder() as scratch, ExitStack() as stack:
        # fsync is for power cuts. The kernel keeps what a killed process has written.
        settings = {"fsync": "off", "full_page_writes": "off"}
        postgres = stack.enter_context(start_postgres(scratch / "postgres", settings=settings))
        redis = stack.enter_context(start_redis(scratch / "redis"))
        service = Service(postgres, redis, folder)
        stack.callback(service.stop)
        service.begin()
        yield service
