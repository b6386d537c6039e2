"""The service as a process, for tests that see it as a client or an attacker does.

It listens on a real socket, logs to a file, and its memory can be measured. Tests that only need
the application use the fixtures of conftest.
"""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from os import environ
from pathlib import Path

import httpx
import psycopg
from psycopg import sql

from dev.guardian import release, spawn
from dev.processes import end
from dev.servers import PostgresServer, RedisServer

ROOT = Path(__file__).parent.parent
START_SECONDS = 30  # two loaded cores, coverage on
STOP_SECONDS = 30
LISTENING = re.compile(r"http://127\.0\.0\.1:(\d+)")

# So high that no test reaches them by accident. The tests of rate limits lower them.
GENEROUS = {
    "RATE_LIMIT_READ": "1000000/minute",
    "RATE_LIMIT_WRITE": "1000000/minute",
    "RATE_LIMIT_LOGIN": "1000000/minute",
}


@dataclass(frozen=True)
class Served:
    """A running service: where it is, what it has logged, and a token that may do everything."""

    process: subprocess.Popen[bytes]
    port: int
    token: str
    log: Path
    environment: Mapping[str, str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def client(self, *, token: str | None = None) -> httpx.Client:
        """A client with the token for everything, or with another one; "" sends none."""
        text = self.token if token is None else token
        headers = {"Authorization": f"Bearer {text}"} if text else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=20)

    def logged(self) -> str:
        return self.log.read_text(errors="replace")

    @contextmanager
    def growing_at_most(self, megabytes: int) -> Iterator[None]:
        """Fail if the process's memory at its peak grows by more than this in the block.

        Linux only: other systems don't show the peak.
        """
        proc = Path("/proc") / str(self.process.pid)
        if not proc.exists():
            yield
            return
        (proc / "clear_refs").write_text("5")  # resets the peak to what is used now
        before = _peak(proc)
        yield
        grown = _peak(proc) - before
        assert grown <= megabytes, f"grew by {grown} MB at its peak, from {before} MB"


def _peak(proc: Path) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", (proc / "status").read_text())
    assert found is not None
    return int(found[1]) // 1024


def environment_for(database_url: str, redis_url: str) -> dict[str, str]:
    """The variables of the service's processes, with rate limits that no test reaches."""
    return {
        **environ,
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "METRICS_PORT": "0",
        "LOG_FORMAT": "json",
        # If the shell sets it, each start compiles all packages again.
        "PYTHONDONTWRITEBYTECODE": "",
        **GENEROUS,
    }


@contextmanager
def own_database(postgres: PostgresServer, name: str) -> Iterator[str]:
    """The URL of a new, empty database, so that commits don't reach other tests."""
    identifier = sql.Identifier(name)
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(identifier))
    yield postgres.url.rpartition("/")[0] + f"/{name}"
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(identifier))


@contextmanager
def serve(
    folder: Path, database_url: str, redis: RedisServer, **overrides: str
) -> Iterator[Served]:
    """Migrate, make a token and serve until the block ends."""
    # A longer timeout, since the machine may be busy.
    slow = {"PYTHONUNBUFFERED": "1", "REDIS_TIMEOUT": "2"}
    environment = {**environment_for(database_url, redis.url), **slow, **overrides}
    run_app(environment, "migrate")
    token = run_app(environment, "token", "create", "--name=test", "--all-scopes").strip()
    with listening(folder, environment, token) as served:
        yield served


@contextmanager
def listening(folder: Path, environment: Mapping[str, str], token: str) -> Iterator[Served]:
    """Serve a database that is migrated already, with uvicorn as in production."""
    log = folder / f"{time.monotonic_ns()}.log"
    command = [sys.executable, "-m", "dev.serve", "--port=0"]
    with log.open("wb") as output:
        process = spawn(command, stdout=output, cwd=ROOT, env=environment)
    try:
        yield Served(process, _wait_for_port(process, log), token, log, environment)
    finally:
        end({process.pid: signal.SIGTERM}, seconds=STOP_SECONDS)
        release(process)


def run_app(environment: Mapping[str, str], *arguments: str) -> str:
    """Run `python -m app …` and return what it printed."""
    command = [sys.executable, "-m", "app", *arguments]
    done = subprocess.run(
        command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _wait_for_port(process: subprocess.Popen[bytes], log: Path) -> int:
    deadline = time.monotonic() + START_SECONDS
    while (found := LISTENING.search(log.read_text())) is None:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)
    return int(found[1])
