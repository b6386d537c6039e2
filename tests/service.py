"""The service as processes: for tests that attack it from outside, or break a part of it.

`App` is the web side alone. `Service` is all of it: Postgres, Redis, the app and the worker, each
of which can be killed, frozen and started again. `live` runs the service in the test's process.
"""

import asyncio
import http.client
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal, Self

import httpx
import psycopg
from alembic import command
from alembic.config import Config

from app.config import Settings
from app.infra.db import make_engine, make_sessions
from dev.guardian import release, spawn
from dev.postgres import OWNER, as_role
from dev.processes import end
from dev.servers import PostgresServer, RedisServer, scratch_folder, start_postgres, start_redis
from tests.live import ROOT, as_owner, issue_token
from tests.polling import PATIENCE, until
from tests.sockets import unused_port

STOP_SECONDS = 60.0  # the service promises 25 of its own
LOG_LINES, LOG_COLUMNS = 60, 400
UNLIMITED = "1000000/minute"  # the tests of rate limits set their own


def environment_for(database_url: str, redis_url: str, **overrides: str) -> dict[str, str]:
    """The variables of the service's processes, beside those of this one."""
    return {
        **os.environ,
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "METRICS_PORT": "0",
        "LOG_FORMAT": "json",
        "RATE_LIMIT_READ": UNLIMITED,
        "RATE_LIMIT_WRITE": UNLIMITED,
        "RATE_LIMIT_LOGIN": UNLIMITED,
        "RATE_LIMIT_MISS": UNLIMITED,
        # If the shell sets it, each start compiles all packages again.
        "PYTHONDONTWRITEBYTECODE": "",
        **overrides,
    }


class Program:
    """One process and those it starts; its output is a file, appended to by each start."""

    def __init__(
        self, name: str, command: list[str], environment: Mapping[str, str], folder: Path
    ) -> None:
        self.name = name
        self.command = command
        self.environment = environment
        self.folder = folder
        self.log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, f"{self.name} was never started"
        return self._process

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = spawn(self.command, stdout=log, cwd=ROOT, env=self.environment)

    def kill(self) -> None:
        """SIGKILL, as the kernel does when memory runs out."""
        self._end(signal.SIGKILL, 0)

    def stop(self) -> None:
        """Do nothing when it does not run."""
        self._end(signal.SIGTERM, STOP_SECONDS)

    def terminate(self) -> None:
        """SIGTERM, and return at once."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self, *, seconds: float = STOP_SECONDS) -> int:
        """The exit code."""
        code = self.process.wait(seconds)
        release(self.process)
        return code

    def peak_memory(self) -> float:
        """The most that it ever had resident, in MB; 0 where there is no /proc to tell."""
        status = Path(f"/proc/{self.process.pid}/status")
        if not status.exists():
            return 0.0
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 1024

    def files(self) -> int:
        """How many files and sockets it has open; 0 where there is no /proc to tell."""
        return len(list(Path(f"/proc/{self.process.pid}").glob("fd/*")))

    @contextmanager
    def growing_at_most(self, megabytes: int) -> Iterator[None]:
        """Fail if its memory at the peak grows by more than this in the block. Linux only."""
        clear = Path(f"/proc/{self.process.pid}/clear_refs")
        if clear.exists():
            clear.write_text("5")  # resets the peak to what is used now
        before = self.peak_memory()
        yield
        grown = self.peak_memory() - before
        assert grown <= megabytes, f"grew by {grown} MB at its peak, from {before} MB"

    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def _end(self, number: signal.Signals, seconds: float) -> None:
        if self.is_running:
            end({self.process.pid: number}, seconds=seconds)
            release(self.process)


class App(Program):
    """The web side, on a port that it keeps over restarts.

    As a context manager it starts, waits until it is ready, and stops at the end.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        folder: Path,
        *,
        token: str,
        name: str = "app",
        server: Literal["uvicorn", "gunicorn"] = "uvicorn",
    ) -> None:
        self.port = unused_port()
        self.token = token
        options = {
            "uvicorn": f"-m dev.serve --port {self.port}",
            # All else is in gunicorn.conf.py, as in the image.
            "gunicorn": f"-m gunicorn --bind 127.0.0.1:{self.port}",
        }
        command = [sys.executable, *shlex.split(options[server])]
        super().__init__(name, command, environment, folder)

    def __enter__(self) -> Self:
        self.start()
        self.wait_until("/health/ready")
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def authorization(self) -> dict[str, str]:
        """With a token that may do everything."""
        return {"Authorization": f"Bearer {self.token}"}

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=self.authorization, timeout=20)

    def answers(self, path: str) -> bool:
        # Not httpx: to make a client takes it 30 ms, which a wait would spend again and again.
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def wait_until(self, path: str, *, seconds: float = PATIENCE) -> None:
        """Return once it answers this path with 200."""

        def holds() -> bool:
            assert self.is_running, self.output()
            return self.answers(path)

        until(holds, within=seconds, every=0.02)


class Service:
    """Postgres, Redis, the app and the worker.

    `restore` repairs what a test broke, so that many tests share one service.
    """

    def __init__(self, postgres: PostgresServer, redis: RedisServer, folder: Path) -> None:
        self.postgres = postgres
        self.redis = redis
        self.folder = folder
        self.environment = environment_for(postgres.url, redis.url)
        # The commands `migrate` and `token create` have tests of their own. To run them here would
        # take another second each.
        settings = Settings(database_url=postgres.url, redis_url=redis.url)
        migrate(settings)
        self.token = first_token(settings)
        self.app = App(self.environment, folder, token=self.token)
        run_worker = [sys.executable, "-m", "app", "worker"]
        self.worker = Program("worker", run_worker, self.environment, folder)
        self.extras: list[Program] = []

    @property
    def owner_url(self) -> str:
        return as_role(self.postgres.url, OWNER)

    def command(self, *words: str, name: str = "", **overrides: str) -> Program:
        """`python -m app …`, not started yet, and ended with the test."""
        environment = {**self.environment, **overrides}
        run = [sys.executable, "-m", "app", *words]
        self.extras.append(Program(name or words[0], run, environment, self.folder))
        return self.extras[-1]

    def another_app(
        self, *, server: Literal["uvicorn", "gunicorn"] = "uvicorn", **overrides: str
    ) -> App:
        """Start another app, on the same Postgres and Redis unless `overrides` name others."""
        name = f"app{len(self.extras) + 2}"
        environment = {**self.environment, **overrides}
        app = App(environment, self.folder, token=self.token, name=name, server=server)
        self.extras.append(app)
        app.start()
        return app

    def restore(self) -> None:
        """Start what does not run, end what a test added, and return once `/health` is ok."""
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

    def client(self, app: App | None = None) -> httpx.AsyncClient:
        """With the token that may do everything."""
        served = app or self.app
        # verify=False: there is no TLS here, and to read the certificates takes 30 ms.
        return httpx.AsyncClient(
            base_url=served.url, headers=served.authorization, timeout=20, verify=False
        )

    def query(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        """Ask the database past the service, as the owner of its tables."""
        with psycopg.connect(self.owner_url, autocommit=True) as connection:
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
    config.attributes["settings"] = as_owner(settings)
    command.upgrade(config, "head")


def first_token(settings: Settings) -> str:
    """One that may do everything."""

    async def make() -> str:
        engine = make_engine(settings, name="tests")
        text = await issue_token(make_sessions(engine))
        await engine.dispose()
        return text

    return asyncio.run(make())


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
        yield service


@contextmanager
def serve(folder: Path, database_url: str, redis: RedisServer) -> Iterator[App]:
    """The web side alone, on an empty database."""
    settings = Settings(database_url=database_url, redis_url=redis.url)
    migrate(settings)
    # A longer timeout than the default, since the machine may be busy.
    environment = environment_for(database_url, redis.url, REDIS_TIMEOUT="2")
    with App(environment, folder, token=first_token(settings)) as app:
        yield app
