"""`make dev` without Docker: runs app and worker with reload, and an embedded Postgres and Redis.

This module starts everything, watches it and stops it.
"""

import http
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack

from dev import ports, terminal
from dev.clone import announced, own
from dev.environment import given_environment, service_environment
from dev.errors import DevError, Interrupted
from dev.files import ROOT
from dev.guardian import finish, release, spawn
from dev.lifecycle import Server
from dev.processes import end
from dev.services import services
from dev.terminal import Follower, Interrupts, say
from dev.welcome import ask, banner, on_this_machine

# As long as the service lets requests in flight finish.
STOP_SECONDS = 25
# A cold start on a slow machine takes less. After it, `make dev` prints the answer of /health.
HEALTHY_SECONDS = 20


def up() -> int:
    """Run until Ctrl-C. Raises DevError if a process ends by itself."""
    given = given_environment()
    with Interrupts() as interrupts, own("make dev", interrupts), ExitStack() as held:
        running = held.enter_context(services(given, interrupts, say))
        for variable in ("PORT", "METRICS_PORT", "WORKER_METRICS_PORT"):
            given[variable] = str(ports.claim(variable, given, held, say))
        computed = service_environment(given, running)
        held.enter_context(announced(computed))
        # Their output is a pipe, so Python would not write it line by line.
        environment = {**given, **computed, "PYTHONUNBUFFERED": "1"}
        migrate({**environment, "DATABASE_URL": running.database_owner_url}, interrupts)

        development = Development(running.started, interrupts)
        held.callback(development.stop)
        development.start("app", ["--reload", f"--port={given['PORT']}"], environment)
        metrics = {"METRICS_PORT": given["WORKER_METRICS_PORT"]}
        development.start("worker", ["worker"], {**environment, **metrics})
        development.wait_until_healthy(int(given["PORT"]))
        welcome = banner(
            int(given["PORT"]),
            on_this_machine(environment, interrupts),
            ends="Ctrl-C stops everything; data stays in .local/",
            metrics_port=given["METRICS_PORT"],
        )
        terminal.write(welcome.encode())
        while True:
            interrupts.pause(0.5)
            development.check()


def migrate(environment: Mapping[str, str], interrupts: Interrupts) -> None:
    process = spawn(
        [sys.executable, "-m", "app", "migrate"], stdout=subprocess.PIPE, cwd=ROOT, env=environment
    )
    follower = Follower("migrate", process)
    failed = finish(process, interrupts)
    follower.join(1)
    if failed:
        raise DevError(
            f"`python -m app migrate` failed (exit code {failed}); its lines above say why."
        )


class Development:
    """The app and the worker, and the servers that they need."""

    def __init__(self, servers: tuple[Server, ...], interrupts: Interrupts) -> None:
        self.servers = servers
        self.interrupts = interrupts
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.followers: list[Follower] = []

    def start(self, name: str, words: list[str], environment: Mapping[str, str]) -> None:
        """Start `python -m dev.serve …` and print its output."""
        command = [sys.executable, "-m", "dev.serve", *words]
        process = spawn(command, stdout=subprocess.PIPE, cwd=ROOT, env=environment)
        self.processes[name] = process
        self.followers.append(Follower(name, process))

    def wait_until_healthy(self, port: int) -> None:
        """Return when /health answers 200. If that takes long, print what it answers."""
        late = time.monotonic() + HEALTHY_SECONDS
        while True:
            status, body = ask(port, "/health")
            if status == http.HTTPStatus.OK:
                return
            self.interrupts.pause(0.1)
            self.check()
            if time.monotonic() > late:
                late = float("inf")
                say(f"/health: {status} {body}\nStill waiting. To reload, save a file of app/.")

    def check(self) -> None:
        """Raise if a process has ended or the terminal was closed."""
        if not terminal.is_read():
            raise Interrupted
        for server in self.servers:
            if server.process.poll() is not None:
                how = how_it_ended(server.process)
                raise DevError(f"{server.name} {how}; {server.log} ends with:\n{server.tail()}")
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise DevError(f"{name} {how_it_ended(process)}; its lines above say why.")

    def stop(self) -> None:
        """Stop app and worker at the same time, and print the rest of their output."""
        say("stopping")
        leaders = {process.pid: signal.SIGTERM for process in self.processes.values()}
        end(leaders, seconds=STOP_SECONDS, patience=self.interrupts)
        for process in self.processes.values():
            release(process)
        for follower in self.followers:
            follower.join(1)


def how_it_ended(process: subprocess.Popen[bytes]) -> str:
    code = process.wait()
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
