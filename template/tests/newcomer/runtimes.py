"""`make dev` in a fresh clone, embedded or in containers. It leaves nothing behind."""

import html
import os
import re
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx

from tests.polling import until
from tests.sockets import unused_port
from tests.stack.source import ROOT, own_name, run

START_SECONDS = 600  # a first start fetches every package, in containers the image's too
STOP_SECONDS = 60

Runtime = Literal["embedded", "docker"]

# How this machine reaches its package index, if it says so in the environment.
PASSED_ON = re.compile(r"PATH|LANG|(PIP|UV|DOCKER)_.*|SSL_CERT_FILE|.*_PROXY|.*_proxy")


@dataclass(frozen=True)
class Clone:
    """A running `make dev`: its address and a token."""

    url: str
    token: str
    runtime: Runtime


@contextmanager
def fresh_clone() -> Iterator[Path]:
    """A clone of the last commit."""
    with tempfile.TemporaryDirectory(prefix="newcomer-") as folder:
        Path(folder).chmod(0o755)  # as root, Postgres is started as another user from here
        clone = Path(folder) / "drydock"
        run(["git", "clone", "--quiet", str(ROOT), str(clone)], cwd=ROOT)
        yield clone


@contextmanager
def make_dev(runtime: Runtime, log: Path) -> Iterator[Clone]:
    """Everything is stopped and removed at the end."""
    with fresh_clone() as clone:
        home = clone.parent / "home"
        home.mkdir()
        port = unused_port()
        environment = {
            **{name: text for name, text in os.environ.items() if PASSED_ON.fullmatch(name)},
            **(_embedded() if runtime == "embedded" else _docker()),
            "PORT": str(port),
            "HOME": str(home),
        }
        command = ["make", "dev", f"RUNTIME={runtime}"]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=clone,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_healthy(url, process, log)
            token = _token(runtime, url, clone, environment)
            yield Clone(url, token, runtime)
        finally:
            _stop(process)
            if runtime == "docker":
                down = ["docker", "compose", "--profile", "*", "down", "-v", "--rmi", "local"]
                run(down, cwd=clone, env=environment)
                name = environment["DEVELOPMENT_PROJECT"]
                run(["docker", "image", "rm", "--force", f"{name}:dev"], cwd=clone, check=False)
                run(["docker", "volume", "rm", "--force", f"{name}_clone"], cwd=clone)


def _embedded() -> dict[str, str]:
    names = ("METRICS_PORT", "WORKER_METRICS_PORT", "POSTGRES_PORT", "REDIS_PORT")
    return {name: str(unused_port()) for name in names}


def _docker() -> dict[str, str]:
    names = ("POSTGRES_PORT", "REDIS_PORT", "DEBUGGER_PORT")
    own = own_name()
    ports = {name: str(unused_port()) for name in names}
    return {"DEVELOPMENT_PROJECT": own, **ports}


def _wait_until_healthy(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    def healthy() -> bool:
        assert process.poll() is None, log.read_text(errors="replace")[-4000:]
        return httpx.get(f"{url}/health", timeout=5).is_success

    until(healthy, within=START_SECONDS)


def _token(runtime: Runtime, url: str, clone: Path, environment: Mapping[str, str]) -> str:
    """The token that `make dev` stores, or one made with the command on the page."""
    if runtime == "embedded":
        kept = clone / ".local" / "token"
        until(kept.exists, within=STOP_SECONDS)
        return kept.read_text().strip()
    page = html.unescape(httpx.get(url, timeout=20).text)
    command = re.search("docker compose exec app (python -m app token create [^<]+)", page)
    assert command is not None
    create = ["docker", "compose", "exec", "-T", "app", *shlex.split(command[1])]
    said = run(create, cwd=clone, env=environment)
    return said.strip().splitlines()[-1]


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Ctrl-C, as a person would."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(STOP_SECONDS)
