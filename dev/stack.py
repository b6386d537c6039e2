"""`make dev` with a Docker Engine: the compose stack, with a name and ports for this clone.

Compose identifies a stack by its project name only. With the same name, it would replace the
containers of another clone, or of production. So this gives the clone another name if the name is
in use, and free ports.
"""

import hashlib
import http
import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from dev import ports
from dev.environment import DOTENV, read_dotenv
from dev.errors import DevError
from dev.files import ROOT, locked
from dev.terminal import say
from dev.welcome import ask, banner

NAME = "DEVELOPMENT_PROJECT"  # of compose.override.yaml
NAME_OF_ALL = "COMPOSE_PROJECT_NAME"  # Compose's own variable. It wins over every name in a file.
PROJECT = "com.docker.compose.project"
FOLDER = f"{PROJECT}.working_dir"

INTERRUPTED = 130
SECONDS = 10  # how long a docker command may take, in case the Engine hangs

# The variable of compose.override.yaml for each published port of a container.
VARIABLES = {8000: "PORT", 5432: "POSTGRES_PORT", 6379: "REDIS_PORT", 5678: "DEBUGGER_PORT"}
OBSERVABILITY = {9090: "PROMETHEUS_PORT", 3000: "GRAFANA_PORT", 16686: "JAEGER_PORT"}
COLLECTOR = "OTEL_EXPORTER_OTLP_ENDPOINT"


SERVICES = ("app", "db", "redis", "prometheus", "grafana", "jaeger")  # that publish ports


class Container(NamedTuple):
    """A container that Compose made. It may have stopped."""

    project: str
    folder: Path
    published: Mapping[int, int]  # the host's port by the container's
    files: str = "compose.override.yaml"  # the files that Compose read

    @property
    def is_development(self) -> bool:
        """Whether it is of the development stack. Production reads compose.yaml only."""
        return "compose.override.yaml" in self.files

    @property
    def is_ours(self) -> bool:
        """Whether it is of this clone's development stack. A clone that is gone was moved here."""
        return self.is_development and (self.folder.resolve() == ROOT or is_gone(self.folder))


def stack() -> int:
    """Run the stack in the foreground until Ctrl-C; return compose's exit code."""
    containers, config = compose_containers(), compose_config()
    name = own_name(config["name"], containers)
    own = [found for found in containers if found.project == name]
    with ExitStack() as held:
        chosen = {NAME: name, **claim_ports(published(config), own, held, say)}
        say(f"{name} on http://{ports.LOCALHOST}:{chosen['PORT']}")
        if "GRAFANA_PORT" in chosen:
            say(f"Grafana on http://{ports.LOCALHOST}:{chosen['GRAFANA_PORT']}")
            say(f"Traces on http://{ports.LOCALHOST}:{chosen['JAEGER_PORT']}")
            given = config["services"]["app"]["environment"].get(COLLECTOR)
            chosen[COLLECTOR] = given or "http://jaeger:4318"
        command = ["docker", "compose", "up", "--build"]
        environment = {**os.environ, **chosen}
        process = subprocess.Popen(command, cwd=ROOT, env=environment)
        welcome = (process, int(chosen["PORT"]), environment)
        threading.Thread(target=greet, args=welcome, daemon=True).start()
        # Ctrl-C reaches Compose too, and Compose stops the containers. This waits for it.
        signal.signal(signal.SIGINT, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: process.terminate())
        code = process.wait()
        return 0 if code == INTERRUPTED else code  # Ctrl-C is the usual end


def greet(process: subprocess.Popen[bytes], port: int, environment: Mapping[str, str]) -> None:
    """Once the service is up, print its address and a token below the lines of Compose."""
    while ask(port, "/health/ready")[0] != http.HTTPStatus.OK:
        if process.poll() is not None:
            return
        time.sleep(0.5)

    def run(words: list[str]) -> str:
        command = ["docker", "compose", "exec", "-T", "app", "python", "-m", "app", *words]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True
        )
        if done.returncode:
            raise DevError(f"`python -m app {' '.join(words)}` failed:\n{done.stderr}")
        return done.stdout.strip()

    try:
        ends = "Ctrl-C stops everything; data stays in Docker's volumes"
        print(banner(port, run, ends=ends), flush=True)
    except DevError as error:
        if process.poll() is None:
            say(str(error))


def docker(*words: str) -> str:
    """Run docker and return what it prints. Raises DevError if it fails or takes too long."""
    command = ["docker", *words]
    try:
        done = subprocess.run(
            command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=SECONDS
        )
    except FileNotFoundError:
        raise DevError("docker is not installed") from None
    except subprocess.TimeoutExpired:
        raise DevError(f"Docker gives no answer within {SECONDS} s") from None
    if done.returncode:
        raise DevError(f"Docker says: {done.stderr.strip()}\nTo look closer: make doctor")
    return done.stdout


def compose_containers() -> list[Container]:
    """List all containers of this Engine that Compose made, of every project."""
    labels = {"project": PROJECT, "folder": FOLDER, "files": f"{PROJECT}.config_files"}
    columns = [f'"{key}": {{{{json (.Label "{label}")}}}}' for key, label in labels.items()]
    template = "{" + ", ".join([*columns, '"ports": {{json .Ports}}']) + "}"
    listed = docker("ps", "--all", "--filter", f"label={PROJECT}", "--format", template)
    return [
        # 127.0.0.1:8001->8000/tcp, 9100/tcp
        Container(
            found["project"],
            Path(found["folder"]),
            {int(i): int(o) for o, i in re.findall(r":(\d+)->(\d+)/tcp", found["ports"])},
            found["files"],
        )
        for found in map(json.loads, listed.splitlines())
    ]


def compose_config() -> dict[str, Any]:
    """Return the development stack that Compose reads from its files, .env and the environment."""
    words = ("compose", "--profile", "*", "config", "--format", "json")
    config: dict[str, Any] = json.loads(docker(*words))
    if config["services"]["app"]["environment"]["ENVIRONMENT"] != "development":
        raise DevError(
            "COMPOSE_FILE leaves out compose.override.yaml, so this is not the development stack."
        )
    return config


def production_name() -> str:
    """Return the project name of this folder's production stack, whether it runs or not."""
    words = ("compose", "--file", "compose.yaml", "config", "--format", "json")
    name: str = json.loads(docker(*words))["name"]
    return name


def published(config: Mapping[str, Any]) -> dict[int, int]:
    """Return the host's port by the container's, as Compose would publish them."""
    services = [config["services"].get(name, {}) for name in SERVICES]
    listed = [port for service in services for port in service.get("ports", ())]
    return {port["target"]: int(port["published"]) for port in listed if "published" in port}


def is_gone(folder: Path) -> bool:
    """Whether a folder was moved or deleted. One that this user may not see is not gone."""
    try:
        folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        return folder.is_absolute()  # a path of Windows is not, and can't be looked up here
    except OSError:
        return False
    return False


def owner_of(name: str, containers: list[Container]) -> str | None:
    """Return which other stack has this name, or None if the name is free or this clone's.

    The containers tell it, or the claim, which stays when a clone removes its containers.
    """
    others = [found for found in containers if found.project == name and not found.is_ours]
    for found in sorted(others, key=lambda found: found.is_development):
        kind = "development" if found.is_development else "production"
        return f"the {kind} stack of {found.folder}"
    claimed = claimed_by(name)
    if claimed and claimed.resolve() != ROOT and not is_gone(claimed):
        return f"the development stack of {claimed}"
    return None


def claim_volume(name: str) -> str:
    """Name the empty volume whose label says which clone has a project name."""
    return f"{name}_clone"


def claimed_by(name: str) -> Path | None:
    """Return the folder of the clone that has claimed a project name."""
    listed = docker("volume", "ls", "--format", f'{{{{.Name}}}} {{{{.Label "{FOLDER}"}}}}')
    claims = dict(line.split(" ", 1) for line in listed.splitlines())
    folder = claims.get(claim_volume(name))
    return Path(folder) if folder else None


def claim(name: str) -> None:
    """Claim a project name, unless another clone has claimed it.

    Of two clones that claim a name at the same moment, one gets it, because a volume keeps the
    labels that it was made with. Containers could not tell: there is none until the image is built.
    """
    labels = {PROJECT: name, FOLDER: str(ROOT)}
    words = [word for key, value in labels.items() for word in ("--label", f"{key}={value}")]
    with locked(Path(tempfile.gettempdir(), f"{PROJECT}-{os.geteuid()}")):
        claimed = claimed_by(name)
        if claimed and is_gone(claimed):
            docker("volume", "rm", claim_volume(name))
        docker("volume", "create", *words, claim_volume(name))


def own_name(name: str, containers: list[Container]) -> str:
    """Return a project name that no other stack has, and claim it.

    A new name goes into .env, where every later `docker compose` in this folder reads it.
    """
    if (owner := owner_of(name, containers)) is None:
        claim(name)
        owner = owner_of(name, containers)
    if owner is None:
        return name
    before = read_dotenv()
    for variable in (NAME, NAME_OF_ALL):
        line = rf"^\s*(export\s+)?{variable}\s*="
        if variable in os.environ or re.search(line, before, re.MULTILINE):
            raise DevError(f"{variable}={name} is {owner}. Choose another name for this clone.")
    own = f"{name}-{hashlib.sha256(bytes(ROOT)).hexdigest()[:4]}"
    gap = "\n" if before and not before.endswith("\n") else ""
    with DOTENV.open("a", encoding="utf-8") as settings:
        settings.write(f"{gap}# {name} is {owner}.\n{NAME}={own}\n")
    say(f"{name} is {owner}, so this one is {own} (now in .env)")
    claim(own)
    return own


def claim_ports(
    wanted: Mapping[int, int], own: list[Container], held: ExitStack, say: Callable[[str], None]
) -> dict[str, str]:
    """Return a port for each variable: the port that our containers have, or a free one."""
    kept = {inside: port for found in own for inside, port in found.published.items()}
    chosen = {}
    observed = "observability" in os.environ.get("COMPOSE_PROFILES", "").split(",")
    for inside, variable in {**VARIABLES, **(OBSERVABILITY if observed else {})}.items():
        port = wanted.get(inside)
        is_default = port == ports.DEFAULTS[variable] and variable not in os.environ
        if inside in kept and (is_default or port == kept[inside]):
            chosen[variable] = str(kept[inside])
        else:
            asked = {} if is_default or port is None else {variable: str(port)}
            chosen[variable] = str(ports.claim(variable, asked, held, say, by_engine=True))
    return chosen
