"""`make dev` with a Docker Engine: the compose stack, so that other clones can run beside it.

Compose alone goes by the project's name, and takes the containers of one clone for those of
another. Here each clone gets a name of its own when it needs one, and ports that are free.
"""

import hashlib
import json
import re
import signal
import subprocess
import tomllib
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from dev import output, ports
from dev.clone import ROOT
from dev.environment import given_environment
from dev.errors import DevError

NAME = "COMPOSE_PROJECT_NAME"
PROJECT = "com.docker.compose.project"
FOLDER = f"{PROJECT}.working_dir"

# What compose.override.yaml publishes, by the port inside of the container.
PUBLISHED = {
    8000: ports.APP,
    5432: ports.Wanted("DB_PORT", 5432),
    6379: ports.Wanted("REDIS_PORT", 6379),
    5678: ports.Wanted("DEBUGGER_PORT", 5678),
}


class Container(NamedTuple):
    """One that compose made, running or not."""

    project: str
    folder: Path
    published: Mapping[int, int]  # the host's port by the container's


def stack() -> int:
    """Run the stack in the foreground until Ctrl-C; return compose's exit code."""
    given = given_environment()
    containers = compose_containers()
    name = own_name(given, containers, ROOT, output.say)
    with ExitStack() as held:
        chosen = {
            NAME: name,
            **claim_ports(given, [c for c in containers if c.project == name], held, output.say),
        }
        output.say(f"{name} on http://{ports.LOCALHOST}:{chosen[ports.APP.variable]}")
        command = ["docker", "compose", "up", "--build", "--remove-orphans"]
        process = subprocess.Popen(command, cwd=ROOT, env={**given, **chosen})
        # Ctrl-C reaches compose by itself, and it stops the containers; we wait for that.
        signal.signal(signal.SIGINT, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: process.terminate())
        return process.wait()


def compose_containers() -> list[Container]:
    """List what compose made on this Engine, for whatever project."""
    fields = {"project": PROJECT, "folder": FOLDER}
    columns = [f'"{key}": {{{{json (.Label "{label}")}}}}' for key, label in fields.items()]
    template = "{" + ", ".join([*columns, '"ports": {{json .Ports}}']) + "}"
    command = ["docker", "ps", "--all", "--filter", f"label={PROJECT}", "--format", template]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise DevError(
            f"Docker does not answer: {done.stderr.strip()}\nTo look closer: make doctor"
        )
    return [
        Container(found["project"], Path(found["folder"]), published_ports(found["ports"]))
        for found in map(json.loads, done.stdout.splitlines())
    ]


def published_ports(text: str) -> dict[int, int]:
    """Read `127.0.0.1:8001->8000/tcp, 9100/tcp`, as `docker ps` shows it."""
    pairs = re.findall(r":(\d+)->(\d+)/tcp", text)
    return {int(inside): int(outside) for outside, inside in pairs}


def project_name(given: Mapping[str, str], root: Path) -> str:
    """Return what compose calls the project of this clone."""
    pyproject = (root / "pyproject.toml").read_text(encoding="utf-8")
    name: str = tomllib.loads(pyproject)["project"]["name"]
    return given.get(NAME, name)


def other_clone(name: str, containers: list[Container], root: Path) -> Path | None:
    """Return the folder of another clone that has containers of this name."""
    # A folder that is gone was moved here, or is nobody's.
    folders = {found.folder for found in containers if found.project == name}
    return next((path for path in sorted(folders) if path != root and path.is_dir()), None)


def own_name(
    given: Mapping[str, str], containers: list[Container], root: Path, say: Callable[[str], None]
) -> str:
    """Return a project name that no other clone has, and keep it in .env if it is a new one.

    Every later `docker compose` in this folder reads it there.
    """
    name = project_name(given, root)
    other = other_clone(name, containers, root)
    if other is None:
        return name
    if NAME in given:
        raise DevError(
            f"{NAME}={name} is the stack of {other}. Choose another name for this clone."
        )
    own = f"{name}-{hashlib.sha256(bytes(root)).hexdigest()[:4]}"
    settings = root / ".env"
    before = settings.read_text(encoding="utf-8") if settings.exists() else ""
    gap = "\n" if before and not before.endswith("\n") else ""
    note = f"# {other} has the name {name}.\n"
    settings.write_text(f"{before}{gap}{note}{NAME}={own}\n", encoding="utf-8")
    say(f"{name} is the stack of {other}, so this one is {own} (now in .env)")
    return own


def claim_ports(
    given: Mapping[str, str], own: list[Container], held: ExitStack, say: Callable[[str], None]
) -> dict[str, str]:
    """Return a port for each variable: the one that our containers have already, or a free one."""
    kept = {inside: port for found in own for inside, port in found.published.items()}
    chosen = {}
    for inside, wanted in PUBLISHED.items():
        asked = given.get(wanted.variable)
        if inside in kept and asked in {None, str(kept[inside])}:
            chosen[wanted.variable] = str(kept[inside])
        else:
            chosen[wanted.variable] = str(ports.claim(wanted, given, held, say))
    return chosen
