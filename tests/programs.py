"""Programs that a test starts, crashes and starts again."""

import http.client
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from dev.guardian import release, spawn
from dev.processes import end
from tests.polling import until
from tests.served import ROOT
from tests.sockets import unused_port

START_SECONDS = 30.0  # two loaded cores, coverage on
STOP_SECONDS = 30.0  # the service promises 25


class Program:
    """One process and those it starts; its output is a file, appended to by each start."""

    def __init__(
        self, name: str, command: list[str], environment: Mapping[str, str], folder: Path
    ) -> None:
        self.name = name
        self.command = command
        self.environment = environment
        self.log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, f"{self.name} was never started"
        return self._process

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = spawn(self.command, stdout=log, cwd=ROOT, env=self.environment)

    def kill(self) -> None:
        """SIGKILL, as the kernel does when memory runs out."""
        self._end(signal.SIGKILL, 0)

    def stop(self) -> None:
        """Harmless when it does not run."""
        self._end(signal.SIGTERM, STOP_SECONDS)

    def terminate(self) -> None:
        """SIGTERM, and return at once."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self, *, seconds: float = STOP_SECONDS) -> int:
        """The exit code."""
        code = self.process.wait(seconds)
        release(self.process)
        return code

    def run(self, *, seconds: float = START_SECONDS) -> int:
        """Start, wait for the end and return the exit code."""
        self.start()
        return self.wait(seconds=seconds)

    def peak_memory(self) -> float | None:
        """The most that it ever had resident, in MB; None where there is no /proc to tell."""
        status = Path(f"/proc/{self.process.pid}/status")
        if not status.exists():
            return None
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 1024

    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def _end(self, number: signal.Signals, seconds: float) -> None:
        if self.is_running:
            end({self.process.pid: number}, seconds=seconds)
            release(self.process)


class App(Program):
    """The web side on a port that it keeps over restarts."""

    def __init__(
        self,
        environment: Mapping[str, str],
        folder: Path,
        *,
        name: str = "app",
        server: Literal["uvicorn", "gunicorn"] = "uvicorn",
    ) -> None:
        self.port = unused_port()
        options = {
            "uvicorn": f"-m dev.serve --port {self.port}",
            # All else is in gunicorn.conf.py, as in the image.
            "gunicorn": f"-m gunicorn --bind 127.0.0.1:{self.port}",
        }
        command = [sys.executable, *shlex.split(options[server])]
        super().__init__(name, command, environment, folder)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answers(self, path: str, *, status: int = 200) -> bool:
        # Not httpx: to make a client takes it 30 ms, which a wait would spend again and again.
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == status
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def wait_until(self, path: str, *, status: int = 200, seconds: float = START_SECONDS) -> float:
        """Return the seconds that it took."""
        started = time.monotonic()
        until(lambda: self.answers(path, status=status), within=seconds, every=0.02)
        return time.monotonic() - started
