"""`make dev`: the app and its worker, reloading, on their own Postgres and Redis.

Here is the order of things: start, watch, stop. What is started is described in the
modules that this one imports.
"""

import http
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack

from dev import output, ports
from dev.clone import ROOT, announced, own
from dev.environment import given_environment, service_environment
from dev.errors import DevError, Interrupted
from dev.guardian import finish, release, spawn
from dev.interrupts import Interrupts
from dev.lifecycle import Server
from dev.processes import end
from dev.services import services
from dev.welcome import ask, banner, working_token

# What the service promises: requests in flight get this long.
STOP_SECONDS = 25
# Long enough for a cold start on a slow machine, short enough to wonder why.
HEALTHY_SECONDS = 20
# A browser that follows an import holds its connection open, and a reload would wait for it.
OPEN_REQUEST_SECONDS = 3


def up() -> int:
    """Run until Ctrl-C and return 0; return 1 when something ends by itself."""
    given = given_environment()
    with Interrupts() as interrupts, own("make dev", interrupts), ExitStack() as held:
        running = held.enter_context(services(given, interrupts, output.say))
        port = ports.claim(ports.APP, given, held, output.say)
        metrics_port = ports.claim(ports.METRICS, given, held, output.say)
        worker_metrics_port = ports.claim(ports.WORKER_METRICS, given, held, output.say)
        computed = service_environment(given, running, port=port, metrics_port=metrics_port)
        held.enter_context(announced(computed))
        # Their output is a pipe to us, and should come line by line all the same.
        environment = {**given, **computed, "PYTHONUNBUFFERED": "1"}
        migrate(environment, interrupts)

        development = Development(running.started, interrupts)
        held.callback(development.stop)
        development.start("app", app_command(port), environment)
        development.start(
            "worker", worker_command(), {**environment, "METRICS_PORT": str(worker_metrics_port)}
        )
        development.wait_until_healthy(port)
        token = working_token(port, environment, interrupts)
        output.write(banner(port, metrics_port, token).encode())
        return development.watch()


def app_command(port: int) -> list[str]:
    """Return the server that restarts itself when a file under app/ changes."""
    options = ["--factory", "--reload", "--reload-dir", "app", "--no-access-log"]
    # The service judges its proxies itself, and speaks no WebSocket.
    options += ["--no-proxy-headers", "--ws", "none"]
    options += ["--host", ports.LOCALHOST, "--port", str(port)]
    options += ["--timeout-graceful-shutdown", str(OPEN_REQUEST_SECONDS)]
    options += ["--use-colors" if output.is_coloured() else "--no-use-colors"]
    return [sys.executable, "-m", "uvicorn", "app.main:create_app", *options]


def worker_command() -> list[str]:
    """Return the same for the worker, which has no reloader of its own."""
    worker = shlex.join([sys.executable, "-m", "app", "worker"])
    options = ["--target-type", "command", "--filter", "python", "--verbosity", "warning"]
    return [sys.executable, "-m", "watchfiles", *options, worker, "app"]


def migrate(environment: Mapping[str, str], interrupts: Interrupts) -> None:
    """Bring the schema up to date."""
    process = spawn(
        [sys.executable, "-m", "app", "migrate"], stdout=subprocess.PIPE, cwd=ROOT, env=environment
    )
    follower = output.Follower("migrate", process)
    failed = finish(process, interrupts)
    follower.join(1)
    if failed:
        raise DevError(
            f"`python -m app migrate` failed (exit code {failed}); its lines above say why."
        )


class Development:
    """The app and the worker, and the servers that they need."""

    def __init__(self, servers: tuple[Server, ...], interrupts: Interrupts) -> None:
        """Nothing runs yet but the servers."""
        self.servers = servers
        self.interrupts = interrupts
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.followers: list[output.Follower] = []

    def start(self, name: str, command: list[str], environment: Mapping[str, str]) -> None:
        """Start one and print what it says."""
        process = spawn(command, stdout=subprocess.PIPE, cwd=ROOT, env=environment)
        self.processes[name] = process
        self.followers.append(output.Follower(name, process))

    def wait_until_healthy(self, port: int) -> None:
        """Return once /health answers 200; say what it answers instead if that takes long."""
        late = time.monotonic() + HEALTHY_SECONDS
        while (answer := ask(port, "/health")).status != http.HTTPStatus.OK:
            self.interrupts.pause(0.1)
            self.check()
            if time.monotonic() > late:
                late = float("inf")
                status = (
                    f"answers {answer.status}: {answer.body}"
                    if answer.status
                    else "does not answer yet"
                )
                output.say(f"/health {status}\nStill trying; saving a file of app/ reloads it.")

    def watch(self) -> int:
        """Stay until something ends by itself, which it should not."""
        while True:
            self.interrupts.pause(0.5)
            self.check()

    def check(self) -> None:
        """Raise when there is no reason to go on: a process has ended, or our terminal."""
        if not output.is_read():
            raise Interrupted
        for server in self.servers:
            if server.process.poll() is not None:
                how = how_it_ended(server.process)
                raise DevError(f"{server.name} {how}; {server.log} ends with:\n{server.tail()}")
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise DevError(f"{name} {how_it_ended(process)}; its lines above say why.")

    def stop(self) -> None:
        """End app and worker, both at once, and print what they still have to say."""
        output.say("stopping")
        leaders = {process.pid: signal.SIGTERM for process in self.processes.values()}
        end(leaders, seconds=STOP_SECONDS, patience=self.interrupts)
        for process in self.processes.values():
            release(process)
        for follower in self.followers:
            follower.join(1)


def how_it_ended(process: subprocess.Popen[bytes]) -> str:
    """Say it in words."""
    code = process.wait()
    return (
        f"was killed by {signal.Signals(-code).name}"
        if code < 0
        else f"ended with exit code {code}"
    )
