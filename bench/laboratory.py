"""Where it is measured: the servers on one core, the load on another, databases of their own."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.load import Job, Outcome
from dev.accounts import discard
from dev.guardian import release, spawn
from dev.postgres import OWNER, as_role
from dev.processes import end
from dev.servers import start_postgres, start_redis

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 60
STOP_SECONDS = 30
LISTENING = re.compile(r"http://127\.0\.0\.1:(\d+)")
UNLIMITED = "1000000000/minute"

SERVER_CORE, LOAD_CORE = 0, 1

# As in production, but for limits, which one client would meet at once.
SETTINGS = {
    "ENVIRONMENT": "production",
    "PUBLIC_URL": "https://go.example.com",
    "ALLOWED_HOSTS": "127.0.0.1",
    "LOG_FORMAT": "json",
    "METRICS_PORT": "0",
    "RATE_LIMIT_READ": UNLIMITED,
    "RATE_LIMIT_WRITE": UNLIMITED,
    "RATE_LIMIT_LOGIN": UNLIMITED,
    "RATE_LIMIT_MISS": UNLIMITED,
    "MAX_CONCURRENT_REQUESTS": "2000",
}


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

    def memory(self) -> float:
        """What it has resident, in MB; 0 where there is no /proc."""
        status = Path(f"/proc/{self.pid}/statm")
        if not status.exists():
            return 0.0
        return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


@dataclass(frozen=True)
class Laboratory:
    """Postgres, Redis, and the processes started beside them."""

    folder: Path
    environment: Mapping[str, str]
    stack: ExitStack
    pins: bool  # whether a process can be kept on one core: not on macOS, nor on a single core

    def command(self, *words: str) -> str:
        """Run `python -m app …` to its end, as the database's owner; return what it printed."""
        command = [sys.executable, "-m", "app", *words]
        environment = {
            **self.environment,
            "DATABASE_URL": as_role(self.environment["DATABASE_URL"], OWNER),
        }
        done = subprocess.run(
            command, check=True, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
        )
        return done.stdout

    def serve(self, name: str, application: str, *, processes: int = 0) -> Server:
        """Start one uvicorn worker on the servers' core, or so many `processes` on all cores."""
        command = [sys.executable, "-m", "uvicorn", application, "--port=0"]
        options = ["--loop=uvloop", "--http=httptools", "--no-access-log", "--no-proxy-headers"]
        if processes:
            options.append(f"--workers={processes}")
        pid, log = self._start(name, [*command, *options])
        if self.pins and not processes:
            os.sched_setaffinity(pid, {SERVER_CORE})
        deadline = time.monotonic() + START_SECONDS
        while (found := LISTENING.search(log.read_text())) is None or not accepts(int(found[1])):
            if time.monotonic() > deadline:
                raise SystemExit(f"{name} did not start:\n{log.read_text()}")
            time.sleep(0.05)
        return Server(int(found[1]), pid)

    def work(self) -> None:
        """Start the service's worker, on the load's core."""
        self._start("worker", [sys.executable, "-m", "app", "worker"])

    def load(self, server: Server, job: Job) -> Outcome:
        before = server.cpu_seconds()
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

    def _start(self, name: str, command: list[str]) -> tuple[int, Path]:
        """Start a process that ends with the laboratory. Returns its pid and its log."""
        log = self.folder / f"{name}.log"
        with log.open("wb") as output:
            process = spawn(command, stdout=output, cwd=ROOT, env=self.environment)
        self.stack.callback(release, process)
        self.stack.callback(end, {process.pid: signal.SIGTERM}, seconds=STOP_SECONDS)
        return process.pid, log


def accepts(port: int) -> bool:
    """Whether a server listens there. Several processes listen later than they say so."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def open_laboratory(*, pinned: bool = True) -> Iterator[Laboratory]:
    """All that it starts ends with the block. Without `pinned`, all share all cores."""
    place = ROOT / ".local"  # on a disk; /tmp may be in memory, which is faster
    place.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=place))
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set[int]()
    pins = pinned and {SERVER_CORE, LOAD_CORE} <= cores
    if pins:
        os.sched_setaffinity(0, {LOAD_CORE})  # inherited by all but the servers
    with ExitStack() as stack:
        stack.callback(discard, folder)
        folder.chmod(0o755)
        postgres = stack.enter_context(start_postgres(folder / "postgres"))
        redis = stack.enter_context(start_redis(folder / "redis"))
        urls = {"DATABASE_URL": postgres.url, "REDIS_URL": redis.url}
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        yield Laboratory(folder, {**inherited, **SETTINGS, **urls}, stack, pins)
