"""Other commands around the servers: run a program with them, say where they are, remove them."""

import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from dev import output, ports
from dev.accounts import discard
from dev.clone import LOCAL, announced, announced_environment, own
from dev.environment import given_environment, service_environment
from dev.errors import AlreadyRunningError, DevError
from dev.guardian import guard, release
from dev.interrupts import Interrupts
from dev.postgres import client_programs
from dev.services import Services, services

# An owner that is just starting tells where its servers are once it has the databases up.
STARTING_SECONDS = 20


def tell(text: str) -> None:
    """Print beside the output of the command, which may go into a file."""
    print(f"dev: {text}", file=sys.stderr)


def run(command: Sequence[str]) -> int:
    """Run a command with the servers of this clone: the running ones, or its own until it ends."""
    given = given_environment()
    with Interrupts() as interrupts:
        try:
            with servers(shlex.join(command), given, interrupts) as (_, found):
                return call(command, {**given, **found}, interrupts)
        except AlreadyRunningError:
            announced_by_owner = announced_environment(interrupts, seconds=STARTING_SECONDS)
            if announced_by_owner is None:
                raise
            return call(command, {**given, **announced_by_owner}, interrupts)


@contextmanager
def servers(
    purpose: str, given: Mapping[str, str], interrupts: Interrupts
) -> Iterator[tuple[Services, dict[str, str]]]:
    """Run the servers alone, and let other commands find them too."""
    with own(purpose, interrupts), services(given, interrupts, tell) as running:
        port = given.get(ports.APP.variable, ports.APP.default)
        metrics_port = given.get(ports.METRICS.variable, ports.METRICS.default)
        found = service_environment(given, running, port=port, metrics_port=metrics_port)
        with announced(found):
            yield running, found


def call(command: Sequence[str], environment: Mapping[str, str], interrupts: Interrupts) -> int:
    """Give a command the terminal until it ends, and return its exit code."""
    try:
        process = subprocess.Popen(command, env=client_environment(environment))
    except OSError as error:
        raise DevError(f"{command[0]}: {error.strerror}") from error
    # Ctrl-C reaches it directly and is its own affair: in psql it cancels a query.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    guard(process)
    try:
        while process.poll() is None:
            interrupts.pause(0.02)
    finally:
        process.terminate()
        release(process)
        signal.signal(signal.SIGINT, before)
    code = process.returncode
    return code if code >= 0 else 128 - code  # as a shell counts signals


def client_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Add what psql, pg_dump and redis-cli read, so that no password stands on a command line."""
    database, redis = urlsplit(environment["DATABASE_URL"]), urlsplit(environment["REDIS_URL"])
    parts = {
        "PGHOST": database.hostname,
        "PGPORT": str(database.port or 5432),
        "PGUSER": unquote(database.username or ""),
        "PGPASSWORD": unquote(database.password or ""),
        "PGDATABASE": unquote(database.path.lstrip("/")),
        "REDISCLI_AUTH": unquote(redis.password or ""),
        "REDIS_HOST": redis.hostname,
        "REDIS_PORT": str(redis.port or 6379),
    }
    here = f"{Path(sys.executable).parent}:{client_programs()}:{environment.get('PATH', '')}"
    return {**environment, **{name: value for name, value in parts.items() if value}, "PATH": here}


def serve() -> int:
    """Run the servers alone until Ctrl-C; print where they are, for `eval`."""
    given = given_environment()
    with Interrupts() as interrupts, servers("dev services", given, interrupts) as (running, found):
        print_exports(found)
        tell("Ctrl-C stops them; data stays in .local/")
        while output.is_read():
            interrupts.pause(0.5)
            if any(server.process.poll() is not None for server in running.started):
                raise DevError("A server has ended by itself; its log is in .local/log/.")
        return 0


def tell_environment() -> int:
    """Print how to reach the servers that are running."""
    with Interrupts() as interrupts:
        found = announced_environment(interrupts, seconds=0)
    if found is None:
        raise DevError("Nothing runs in this clone. Start it with: make dev")
    print_exports(found)
    return 0


def print_exports(environment: Mapping[str, str]) -> None:
    """Print lines for a shell."""
    for name, value in environment.items():
        print(f"export {name}={shlex.quote(value)}", flush=True)


def remove_data(*, sure: bool) -> int:
    """Remove databases, token and logs of this clone, when nothing runs and the answer is yes."""
    if not sure:
        if not sys.stdin.isatty():
            raise DevError("Nobody to ask whether to remove all data. To do it unasked: YES=1")
        answer = input(f"Remove all data in {LOCAL}? [y/N] ")
        if answer.strip().lower() not in {"y", "yes"}:
            tell("nothing was removed")
            return 1
    with Interrupts() as interrupts, own("dev remove-data", interrupts):
        discard(LOCAL / "postgres")
        shutil.rmtree(LOCAL)
    return 0
