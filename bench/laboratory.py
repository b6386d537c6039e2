"""Where it is measured: the servers on one core, the load on another, databases of their own."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from bench.load import Job, Outcome
from dev.accounts import discard
from dev.guardian import release, spawn
from dev.processes import end
from dev.servers import start_postgres, start_redis

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 60
STOP_SECONDS = 30
LISTENING = re.compile(r"http://127\.0\.0\.1:(\d+)")
PLENTY = "1000000000/minute"

SERVER_CORE, LOAD_CORE = 0, 1

# As in production, but for limits, which one client would meet at once.
SETTINGS = {
    "ENVIRONMENT": "production",
    "PUBLIC_URL": "https://go.example.com",
    "ALLOWED_HOSTS": "127.0.0.1",
    "LOG_FORMAT": "json",
    "METRICS_PORT": "0",
    "RATE_LIMIT_READ": PLENTY,
    "RATE_LIMIT_WRITE": PLENTY,
    "RATE_LIMIT_LOGIN": PLENTY,
}


def can_pin() -> bool:
    """Whether each process can stay on one core: not on macOS, and not on a single core."""
    return hasattr(os, "sched_setaffinity") and {SERVER_CORE, LOAD_CORE} <= os.sched_getaffinity(0)


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Keep the processes that the block starts on this core."""
    if not can_pin():
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass(frozen=True)
class Server:
    port: int
    pid: int

    def cpu_seconds(self) -> float:
        """The CPU time of all its threads so far; 0 where there is no /proc."""
        stat = Path(f"/proc/{self.pid}/stat")
        if not stat.exists():
            return 0.0
        user, system = stat.read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


class Laboratory:
    """Postgres, Redis, and the processes started beside them. All end with the block."""

    def __enter__(self) -> Self:
        place = ROOT / ".local"  # on a disk; /tmp may be in memory, which is faster
        place.mkdir(exist_ok=True)
        self.folder = Path(tempfile.mkdtemp(prefix="bench-", dir=place))
        with ExitStack() as stack, pinned(LOAD_CORE):
            stack.callback(discard, self.folder)
            self.folder.chmod(0o755)
            postgres = stack.enter_context(start_postgres(self.folder / "postgres"))
            redis = stack.enter_context(start_redis(self.folder / "redis"))
            self._stack = stack.pop_all()
        urls = {"DATABASE_URL": postgres.url, "REDIS_URL": redis.url}
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        self.environment = {**inherited, **SETTINGS, **urls}
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def command(self, *words: str) -> str:
        """Run `python -m app …` to its end and return what it printed."""
        command = [sys.executable, "-m", "app", *words]
        done = subprocess.run(
            command, check=True, cwd=ROOT, env=self.environment, stdout=subprocess.PIPE, text=True
        )
        return done.stdout

    def serve(self, name: str, application: str) -> Server:
        """Start one uvicorn worker on the servers' core."""
        command = [sys.executable, "-m", "uvicorn", application, "--port=0"]
        options = ["--loop=uvloop", "--http=httptools", "--no-access-log", "--no-proxy-headers"]
        pid, log = self.start(name, [*command, *options], SERVER_CORE)
        deadline = time.monotonic() + START_SECONDS
        while (found := LISTENING.search(log.read_text())) is None:
            if time.monotonic() > deadline:
                raise SystemExit(f"{name} did not start:\n{log.read_text()}")
            time.sleep(0.05)
        return Server(int(found[1]), pid)

    def work(self) -> None:
        """Start the service's worker, on the load's core."""
        self.start("worker", [sys.executable, "-m", "app", "worker"], LOAD_CORE)

    def start(self, name: str, command: list[str], core: int) -> tuple[int, Path]:
        """Start a process that ends with the laboratory. Returns its pid and its log."""
        log = self.folder / f"{name}.log"
        with pinned(core), log.open("wb") as output:
            process = spawn(command, stdout=output, cwd=ROOT, env=self.environment)
        self._stack.callback(_stop, process)
        return process.pid, log

    def load(self, server: Server, job: Job) -> Outcome:
        before = server.cpu_seconds()
        with pinned(LOAD_CORE):
            done = subprocess.run(
                [sys.executable, "-m", "bench.load"],
                check=True,
                cwd=ROOT,
                input=json.dumps(asdict(job)),
                stdout=subprocess.PIPE,
                text=True,
            )
        outcome = Outcome(**json.loads(done.stdout))
        outcome.cost = (server.cpu_seconds() - before) / max(1, outcome.answered)
        return outcome


def _stop(process: subprocess.Popen[bytes]) -> None:
    end({process.pid: signal.SIGTERM}, seconds=STOP_SECONDS)
    release(process)
