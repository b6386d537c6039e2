"""`python -m dev run`: runs a program with this clone's Postgres and Redis."""

import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from dev.clone import announced, announced_environment, own
from dev.environment import given_environment, service_environment
from dev.errors import AlreadyRunningError, DevError
from dev.guardian import guard, release
from dev.postgres import client_programs
from dev.services import services
from dev.terminal import Interrupts

# How long to wait for an owner that is starting its databases.
STARTING_SECONDS = 20


def tell(text: str) -> None:
    """Print to standard error, because the command's output may go to a file."""
    print(f"dev: {text}", file=sys.stderr)


def run(command: Sequence[str], *, as_owner: bool = False) -> int:
    """Run a command with this clone's servers. Start them for the command if none run.

    It gets the rights of the service. With `as_owner` it may also change tables and settings.
    """
    given = given_environment()
    with Interrupts() as interrupts:
        try:
            with own(shlex.join(command), interrupts), services(given, interrupts, tell) as running:
                found = service_environment(given, running)
                with announced(found):
                    return call(command, chosen(given, found, as_owner=as_owner), interrupts)
        except AlreadyRunningError:
            theirs = announced_environment(interrupts, seconds=STARTING_SECONDS)
            if theirs is None:
                raise
            return call(command, chosen(given, theirs, as_owner=as_owner), interrupts)


def chosen(given: Mapping[str, str], found: Mapping[str, str], *, as_owner: bool) -> dict[str, str]:
    """Return the environment of a command."""
    if not as_owner:
        return {**given, **found}
    urls = {"DATABASE_URL": found["DATABASE_OWNER_URL"], "REDIS_URL": found["REDIS_ADMIN_URL"]}
    return {**given, **found, **urls}


def call(command: Sequence[str], environment: Mapping[str, str], interrupts: Interrupts) -> int:
    """Run a command in this terminal until it ends, and return its exit code."""
    try:
        process = subprocess.Popen(command, env=client_environment(environment))
    except OSError as error:
        raise DevError(f"{command[0]}: {error.strerror}") from error
    # Ctrl-C reaches the command directly: in psql it cancels a query.
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
    """Add the variables of psql, pg_dump and redis-cli, so no command line has a password."""
    database, redis = urlsplit(environment["DATABASE_URL"]), urlsplit(environment["REDIS_URL"])
    parts = {
        "PGHOST": database.hostname,
        "PGPORT": str(database.port or 5432),
        "PGUSER": unquote(database.username or ""),
        "PGPASSWORD": unquote(database.password or ""),
        "PGDATABASE": unquote(database.path.lstrip("/")),
        "REDISCLI_AUTH": unquote(redis.password or ""),
        "REDIS_USER": unquote(redis.username or "default"),
        "REDIS_HOST": redis.hostname,
        "REDIS_PORT": str(redis.port or 6379),
    }
    here = f"{Path(sys.executable).parent}:{client_programs()}:{environment.get('PATH', '')}"
    return {**environment, **{name: value for name, value in parts.items() if value}, "PATH": here}
