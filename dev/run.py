"""The other commands around the servers: run one program with them, tell where they are, remove them."""

import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from dev import ports
from dev.accounts import discard
from dev.clone import LOCAL, announced, own, running_environment
from dev.environment import given_environment, service_environment
from dev.errors import AlreadyRunningError, DevError
from dev.interrupts import Interrupts
from dev.postgres import client_programs
from dev.services import services

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
            with own(shlex.join(command), interrupts), services(given, interrupts, tell) as running:
                computed = service_environment(
                    given, running, port=ports.APP.default, metrics_port=ports.METRICS.default
                )
                with announced(computed):
                    return call(command, {**given, **computed}, interrupts)
        except AlreadyRunningError:
            found = running_environment(interrupts, seconds=STARTING_SECONDS)
            if found is None:
                raise
            return call(command, {**given, **found}, interrupts)


def call(command: Sequence[str], environment: Mapping[str, str], interrupts: Interrupts) -> int:
    """Give a command the terminal until it ends, and return its exit code."""
    # Ctrl-C reaches it directly and is its own affair: in psql it cancels a query. Not
    # SIG_IGN, which it would inherit.
    before = signal.signal(signal.SIGINT, lambda _number, _frame: None)
    try:
        process = subprocess.Popen(command, env=client_environment(environment))
    except OSError as error:
        message = f"{command[0]}: {error.strerror}"
        raise DevError(message) from error
    try:
        while process.poll() is None:
            interrupts.pause(0.02)
    finally:
        process.terminate()
        code = process.wait()
        signal.signal(signal.SIGINT, before)
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
    with Interrupts() as interrupts, own("dev services", interrupts), services(given, interrupts, tell) as running:
        computed = service_environment(given, running, port=ports.APP.default, metrics_port=ports.METRICS.default)
        with announced(computed):
            print_exports(computed)
            tell("Ctrl-C stops them; data stays in .local/")
            while all(server.process.poll() is None for server in running.started):
                interrupts.pause(0.5)
            message = "A server has ended by itself; its log is in .local/log/."
            raise DevError(message)


def tell_environment() -> int:
    """Print how to reach the servers that are running."""
    with Interrupts() as interrupts:
        found = running_environment(interrupts, seconds=0)
    if found is None:
        message = "Nothing runs in this clone. Start it with: make dev"
        raise DevError(message)
    print_exports(found)
    return 0


def print_exports(environment: Mapping[str, str]) -> None:
    """Print lines for a shell."""
    for name, value in environment.items():
        print(f"export {name}={shlex.quote(value)}", flush=True)


def remove_data(*, sure: bool) -> int:
    """Remove databases, token and logs of this clone, when nothing runs and the answer is yes."""
    with Interrupts() as interrupts, own("dev remove-data", interrupts):
        if not sure and input(f"Remove all data in {LOCAL}? [y/N] ").strip().lower() not in {"y", "yes"}:
            tell("nothing was removed")
            return 1
        discard(LOCAL / "postgres")
        shutil.rmtree(LOCAL)
    return 0
