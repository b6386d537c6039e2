"""A database server: its folder and its process, and how to start, stop, kill and freeze it.

postgres.py and redis.py have the differences. `make dev` and the tests use the same classes.
"""

import os
import random
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, NamedTuple, NoReturn, Self

from dev.accounts import Account
from dev.errors import PortTakenError, ServerError
from dev.files import make_folder, open_lock, sign, signature, try_lock
from dev.guardian import finish, release, spawn
from dev.processes import Patience, end, members, send

# After a crash, the server replays its log. That may take long on a slow disk.
START_SECONDS = 60
# Postgres writes its buffers to disk before it ends. A killed one recovers at its next start.
STOP_SECONDS = 20
# The guardian of a crashed launcher may still be stopping the old server of this folder.
FOLDER_SECONDS = 15

LOG_BYTES = 5_000_000
TAIL_LINES = 20

# Below the ports of outgoing connections (from 32768 on Linux, 49152 on macOS). Among those, a
# restarted server could find its port in use, or a client could connect to itself.
FREE_PORTS = range(20_000, 32_000)

UNCHANGED: Mapping[str, str] = MappingProxyType({})


class Launch(NamedTuple):
    """How to start the program of a server."""

    command: Sequence[str | Path]
    folder: Path
    account: Account | None = None


class Server(ABC):
    """A database server on 127.0.0.1 with its data in a folder. It ends with this process."""

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        settings: Mapping[str, str] = UNCHANGED,
        patience: Patience | None = None,
    ) -> None:
        """Port 0 means any free port. `settings` are options of the server's own configuration."""
        self.folder = folder
        self.port = port
        self.settings = settings
        self.log = folder / f"{self.name}.log"
        self.patience = patience or Patience()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_guarded = False
        self._log_start = 0

    @classmethod
    def started(
        cls,
        folder: Path,
        *,
        port: int = 0,
        settings: Mapping[str, str] = UNCHANGED,
        patience: Patience | None = None,
    ) -> Self:
        """Start a server on the data in the folder. An empty folder gets a new database."""
        server = cls(folder, port=port, settings=settings, patience=patience)
        server.start()
        return server

    @property
    @abstractmethod
    def url(self) -> str:
        """The URL for clients, with the password."""

    @abstractmethod
    def _prepare(self) -> None:
        """Create the missing files of the folder."""

    @abstractmethod
    def _launch(self, port: int) -> Launch:
        """Return how to start the program."""

    @abstractmethod
    def _answers(self, port: int) -> bool:
        """Whether it accepts commands now."""

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """Return the last started process, which may have ended."""
        if self._process is None:
            raise ServerError(f"{self.name} was never started")
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    def start(self) -> None:
        """Start on the same port and data as before, and return when it answers."""
        if self._process and self._process.poll() is not None:
            self.kill()  # it ended by itself: end its remaining children
        make_folder(self.folder)
        lock = self._lock_folder()
        try:
            self._open_log()
            self._prepare()
            if self.port:
                self._start_on(self.port, lock)
            else:
                self.port = self._start_on_free_port(lock)
        finally:
            os.close(lock)

    def stop(self) -> None:
        """Stop it, and kill it if that takes too long. Does nothing if it does not run."""
        self._end(self.stop_signal, STOP_SECONDS)

    def kill(self) -> None:
        """SIGKILL it and all its children."""
        self._end(signal.SIGKILL, 0)

    def freeze(self) -> None:
        """SIGSTOP it: its connections stay open, and it answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)  # first, so that it can't start more children
        send(members([self.pid]), signal.SIGSTOP)

    def thaw(self) -> None:
        send(members([self.pid]), signal.SIGCONT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def tail(self) -> str:
        """Return the last lines of its log since the start."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-TAIL_LINES:])

    def _end(self, number: signal.Signals, seconds: float) -> None:
        if self._is_guarded:
            end({self.pid: number}, seconds=seconds, patience=self.patience)
            release(self.process)
            self._is_guarded = False  # from now on another process may get its pid

    def _lock_folder(self) -> int:
        """Lock the folder, or raise ServerError with the holder's pid.

        Two servers in one folder would destroy the data. The server inherits the lock, and holds it
        until its last process has ended.
        """
        lock = open_lock(self.folder / "lock")
        deadline = time.monotonic() + FOLDER_SECONDS
        try:
            while not try_lock(lock):
                self.patience.pause(0.1)
                if time.monotonic() > deadline:
                    self._refuse(pid=signature(lock))
        except BaseException:
            os.close(lock)
            raise
        return lock

    def _refuse(self, pid: str) -> NoReturn:
        raise ServerError(
            f"{self.folder} is in use by {self.name} (pid {pid}). Stop that first: kill {pid}"
        )

    def _open_log(self) -> None:
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES:
            self.log.unlink()
        self._log_start = self.log.stat().st_size if self.log.exists() else 0

    def _spawn(
        self, launch: Launch, stdin: int = subprocess.DEVNULL, lock: int | None = None
    ) -> "subprocess.Popen[bytes]":
        with self.log.open("ab") as log:
            return spawn(
                launch.command,
                stop_signal=self.stop_signal,
                stdin=stdin,
                stdout=log,
                cwd=launch.folder,
                # The same environment for every user, without PG* variables and locales.
                env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
                account=launch.account,
                pass_fds=() if lock is None else (lock,),
            )

    def _run(self, launch: Launch, text: str = "") -> None:
        """Run a program of the server until it ends. Its output goes to the log."""
        process = self._spawn(launch, stdin=subprocess.PIPE)
        if process.stdin:
            process.stdin.write(text.encode())
            process.stdin.close()
        if finish(process, self.patience):
            raise ServerError(f"{launch.command[0]} failed:\n{self.tail()}")

    def _start_on_free_port(self, lock: int) -> int:
        while True:
            port = random.choice(FREE_PORTS)  # noqa: S311 - no secret
            try:
                self._start_on(port, lock)
            except PortTakenError:
                continue
            return port

    def _start_on(self, port: int, lock: int) -> None:
        self._process = self._spawn(self._launch(port), lock=lock)
        self._is_guarded = True
        sign(lock, str(self.pid))
        try:
            self._wait_until_it_answers(port)
        except BaseException:
            self.kill()
            raise

    def _wait_until_it_answers(self, port: int) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._answers(port):
            if self.process.poll() is not None or time.monotonic() > deadline:
                text = self.tail()
                if "Address already in use" in text:
                    raise PortTakenError(f"{self.name} could not listen: port {port} is taken")
                raise ServerError(
                    f"{self.name} did not start; its log ({self.log}) ends with:\n{text}"
                )
            self.patience.pause(0.01)
