"""A Compose project with its own name, ports, volumes and secrets."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import httpx
from python_on_whales import Container, DockerClient
from python_on_whales.exceptions import DockerException

from tests.polling import until
from tests.sockets import unused_port
from tests.stack.source import own_name, run

PATIENCE = 120  # seconds for everything to become healthy on two loaded cores


def execute(container: Container, *command: str) -> str:
    """Run a command inside a container and return what it printed."""
    said = container.execute(list(command))
    assert isinstance(said, str)
    return said.strip()


def tag_of(image: str) -> str:
    """Return the tag in an image's name, without the digest or the id that deploy/release adds."""
    return image.partition("@")[0].rpartition(":")[2].partition(".id-")[0]


# Of the gunicorn processes, the worker is the one that is not the parent of another.
SIGNAL_WORKER = """
import os, pathlib, signal, sys
proc = pathlib.Path("/proc")
def parent(pid): return (proc / pid / "stat").read_text().rpartition(")")[2].split()[1]
def runs(pid): return "gun" + "icorn" in (proc / pid / "cmdline").read_text()
found = {path.name for path in proc.iterdir() if path.name.isdigit() and runs(path.name)}
[worker] = found - {parent(pid) for pid in found}
os.kill(int(worker), getattr(signal, "SIG" + sys.argv[1]))
print(worker)
"""


def signal_worker(container: Container, name: str) -> str:
    """Signal the one gunicorn worker of a container; return its process id there.

    CONT has no effect on a running process, so it only returns the id.
    """
    return execute(container, "python", "-c", SIGNAL_WORKER, name)


def rights(container: Container, capabilities: str) -> set[str]:
    """Return the users and the capability sets of all processes of a container."""
    look = f"grep -hsE '^(Uid|{capabilities}):' /proc/[0-9]*/status || true"  # some end meanwhile
    lines = [line.split() for line in execute(container, "sh", "-c", look).splitlines()]
    return {word for _, *words in lines for word in words}


def is_ready(container: Container) -> bool:
    """Run the container's health check."""
    try:
        execute(container, "python", "-S", "-E", "/srv/probe.py", "web")
    except DockerException:
        return False
    return True


@dataclass
class Stack:
    source: Path
    folder: Path
    files: tuple[str, ...]
    variables: dict[str, str]
    name: str = field(default_factory=own_name)
    first: dict[str, tuple[str, int]] = field(default_factory=dict)  # `starts` after the first `up`

    def change(self, **variables: str) -> None:
        """Change what compose and the scripts of deploy/ see from now on."""
        self.variables.update(variables)
        lines = [f"{name}={value}\n" for name, value in self.environment.items()]
        (self.folder / "env").write_text("".join(lines))

    @property
    def environment(self) -> dict[str, str]:
        return {"PRODUCTION_PROJECT": self.name, "DEVELOPMENT_PROJECT": self.name, **self.variables}

    @cached_property
    def docker(self) -> DockerClient:
        return DockerClient(
            compose_files=[self.source / name for name in self.files],
            compose_env_files=[self.folder / "env"],
            compose_project_name=self.name,
            compose_project_directory=self.source,
        )

    def up(self) -> None:
        self.docker.compose.up(
            detach=True, wait=True, wait_timeout=PATIENCE, quiet=True, pull="missing"
        )
        self.first = self.first or self.starts()

    def scale(self, number: int) -> None:
        """Run so many containers of the app; those that run already stay."""
        options = ["--detach", "--wait", "--no-build", "--no-recreate", "--quiet-pull"]
        self.script("compose", "up", *options, "--scale", f"app={number}", "app")

    def script(self, name: str, *words: str, check: bool = True, **variables: str) -> str:
        """Run a script of deploy/ as an operator would."""
        command = [f"deploy/{name}", *words]
        return run(command, cwd=self.source, env={**self.environment, **variables}, check=check)

    def start_script(self, name: str, *words: str, log: Path) -> subprocess.Popen[bytes]:
        """Run it as `script` does, in a process group of its own, and return at once."""
        with log.open("wb") as output:
            return subprocess.Popen(
                [f"deploy/{name}", *words],
                cwd=self.source,
                env={**os.environ, **self.environment},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def containers(self, service: str, *, every: bool = False) -> list[Container]:
        return self.docker.compose.ps([service], all=every)

    def container(self, service: str) -> Container:
        [found] = self.containers(service)
        return found

    def oneoffs(self) -> list[Container]:
        """Return the containers of `docker compose run`."""
        labels = ["com.docker.compose.oneoff=True", f"com.docker.compose.project={self.name}"]
        return self.docker.container.list(all=True, filters=[("label", label) for label in labels])

    def run_in(self, service: str, *command: str) -> str:
        return execute(self.containers(service)[0], *command)

    def starts(self) -> dict[str, tuple[str, int]]:
        """When each container started and how often Docker restarted it."""
        return {
            found.name: (str(found.state.started_at), found.restart_count or 0)
            for found in self.docker.compose.ps(all=True)
        }

    def until_healthy(self, service: str, *, within: float = PATIENCE) -> None:
        def healthy() -> bool:
            states = [found.state.health for found in self.containers(service)]
            return all(state is not None and state.status == "healthy" for state in states)

        until(healthy, within=within)

    @contextmanager
    def beside(
        self, image: str, *command: str, mounts: Mapping[Path, str] | None = None, **variables: str
    ) -> Iterator[Container]:
        """Run one more container with the app's settings, secrets and networks.

        It has no port on the host, so `is_ready` asks it from inside. `mounts` are more files.
        """
        settings = dict(pair.split("=", 1) for pair in self.container("app").config.env or [])
        del settings["PATH"]
        files = {file: f"/run/secrets/{file.name}" for file in (self.source / "secrets").iterdir()}
        container = self.docker.run(
            image,
            command,
            detach=True,
            init=True,
            healthcheck=False,
            read_only=True,
            tmpfs=[Path("/tmp")],
            envs={**settings, **variables},
            networks=[f"{self.name}_back"],
            volumes=[(file, place, "ro") for file, place in {**files, **(mounts or {})}.items()],
        )
        try:
            yield container
        finally:
            container.remove(force=True)

    def deployed(self) -> list[str]:
        """Return the tags of the running version and of the one before."""
        state = self.source / ".deployed"
        return [tag_of(image) for image in state.read_text().split()] if state.exists() else []

    def make_token(self, *scopes: str) -> str:
        wanted = [word for scope in scopes for word in ("--scope", scope)]
        command = ["python", "-m", "app", "token", "create", "--name", "tests", *wanted]
        return self.run_in("app", *command).splitlines()[-1]

    @property
    def url(self) -> str:
        port = self.variables.get("HTTPS_PORT")
        return f"https://localhost:{port}" if port else f"http://127.0.0.1:{self.variables['PORT']}"

    def client(self, **options: str) -> httpx.Client:
        """Return a client without a token, which accepts Caddy's certificate for localhost."""
        return httpx.Client(base_url=self.url, verify=False, timeout=10, headers=options)

    def versions(self) -> set[str]:
        """Return which versions answer."""
        with self.client() as client:
            return {client.get("/health/live").json()["version"] for _ in range(4)}

    def logs(self) -> str:
        return str(self.docker.compose.logs(tail="60"))


@contextmanager
def project(
    source: Path, folder: Path, *, files: tuple[str, ...], variables: dict[str, str]
) -> Iterator[Stack]:
    """A project that is not up yet. The end removes everything of it."""
    folder.mkdir(exist_ok=True)
    stack = Stack(source, folder, files, variables)
    stack.change()
    stack.script("open-files")  # as `make dev` and the scripts of production do
    try:
        yield stack
    finally:
        stack.docker.compose.down(volumes=True, remove_orphans=True, timeout=1, quiet=True)


@contextmanager
def production(source: Path, folder: Path, repository: str, tag: str) -> Iterator[Stack]:
    """A production stack in a copy of `source`, which is `folder`/clone."""
    variables = {
        "APP_IMAGE": repository,
        "TAG": tag,
        "HTTP_BIND": "127.0.0.1",
        "HTTP_PORT": str(unused_port()),
        "HTTPS_PORT": str(unused_port()),
        "RATE_LIMIT_READ": "1000000/minute",
        "RATE_LIMIT_WRITE": "1000000/minute",
        "RATE_LIMIT_MISS": "1000000/minute",
    }
    clone = folder / "clone"
    shutil.copytree(source, clone, symlinks=True)
    with project(clone, folder, files=("compose.yaml",), variables=variables) as stack:
        stack.script("make-secrets")
        yield stack
