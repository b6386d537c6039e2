"""`make dev` with a Docker Engine: the compose stack, with a name and ports for this clone.

Compose identifies a stack by its project name only. With the same name, it would replace the
containers of another clone. So this gives the clone another name if the name is in use, and free
ports.
"""

import hashlib
import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from dev import ports
from dev.environment import DOTENV, read_dotenv
from dev.errors import DevError
from dev.files import ROOT
from dev.terminal import say

NAME = "COMPOSE_PROJECT_NAME"
PROJECT = "com.docker.compose.project"

SECONDS = 10  # how long a docker command may take, in case the Engine hangs

# The variable of compose.override.yaml for each published port of a container.
VARIABLES = {8000: "PORT", 5432: "POSTGRES_PORT", 6379: "REDIS_PORT", 5678: "DEBUGGER_PORT"}


class Container(NamedTuple):
    """A container that Compose made. It may have stopped."""

    project: str
    folder: Path
    published: Mapping[int, int]  # the host's port by the container's


def stack() -> int:
    """Run the stack in the foreground until Ctrl-C; return compose's exit code."""
    containers, config = compose_containers(), compose_config()
    name = own_name(config["name"], containers)
    own = [found for found in containers if found.project == name]
    with ExitStack() as held:
        chosen = {NAME: name, **claim_ports(published(config), own, held, say)}
        say(f"{name} on http://{ports.LOCALHOST}:{chosen['PORT']}")
        command = ["docker", "compose", "up", "--build", "--remove-orphans"]
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **chosen})
        # Ctrl-C reaches Compose too, and Compose stops the containers. This waits for it.
        signal.signal(signal.SIGINT, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: process.terminate())
        return process.wait()


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
    labels = {"project": PROJECT, "folder": f"{PROJECT}.working_dir"}
    columns = [f'"{key}": {{{{json (.Label "{label}")}}}}' for key, label in labels.items()]
    template = "{" + ", ".join([*columns, '"ports": {{json .Ports}}']) + "}"
    listed = docker("ps", "--all", "--filter", f"label={PROJECT}", "--format", template)
    return [
        # 127.0.0.1:8001->8000/tcp, 9100/tcp
        Container(
            found["project"],
            Path(found["folder"]),
            {int(i): int(o) for o, i in re.findall(r":(\d+)->(\d+)/tcp", found["ports"])},
        )
        for found in map(json.loads, listed.splitlines())
    ]


def compose_config() -> dict[str, Any]:
    """Return the configuration that Compose reads from its files, .env and the environment."""
    config: dict[str, Any] = json.loads(docker("compose", "config", "--format", "json"))
    return config


def published(config: Mapping[str, Any]) -> dict[int, int]:
    """Return the host's port by the container's, as Compose would publish them."""
    services = [config["services"].get(name, {}) for name in ("app", "db", "redis")]
    listed = [port for service in services for port in service.get("ports", ())]
    return {port["target"]: int(port["published"]) for port in listed if "published" in port}


def other_clone(name: str, containers: list[Container]) -> Path | None:
    """Return the folder of another clone that has containers of this name."""
    folders = {found.folder.resolve() for found in containers if found.project == name}
    # A folder that does not exist was moved here or deleted.
    return next((path for path in sorted(folders) if path != ROOT and path.is_dir()), None)


def own_name(name: str, containers: list[Container]) -> str:
    """Return a project name that no other clone has.

    A new name goes into .env, where every later `docker compose` in this folder reads it.
    """
    other = other_clone(name, containers)
    if other is None:
        return name
    before = read_dotenv()
    if NAME in os.environ or re.search(rf"^\s*{NAME}=", before, re.MULTILINE):
        raise DevError(
            f"{NAME}={name} is the stack of {other}. Choose another name for this clone."
        )
    own = f"{name}-{hashlib.sha256(bytes(ROOT)).hexdigest()[:4]}"
    gap = "\n" if before and not before.endswith("\n") else ""
    with DOTENV.open("a", encoding="utf-8") as settings:
        settings.write(f"{gap}# {other} has the name {name}.\n{NAME}={own}\n")
    say(f"{name} is the stack of {other}, so this one is {own} (now in .env)")
    return own


def claim_ports(
    wanted: Mapping[int, int], own: list[Container], held: ExitStack, say: Callable[[str], None]
) -> dict[str, str]:
    """Return a port for each variable: the port that our containers have, or a free one."""
    kept = {inside: port for found in own for inside, port in found.published.items()}
    chosen = {}
    for inside, variable in VARIABLES.items():
        port = wanted.get(inside)
        is_default = port == ports.DEFAULTS[variable] and variable not in os.environ
        if inside in kept and (is_default or port == kept[inside]):
            chosen[variable] = str(kept[inside])
        else:
            asked = {} if is_default or port is None else {variable: str(port)}
            chosen[variable] = str(ports.claim(variable, asked, held, say, by_engine=True))
    return chosen
