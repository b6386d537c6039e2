"""Python, the disk, who we are, and which ports are free."""

import importlib.util
import os
import platform
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path

from dev import ports
from dev.clone import ENVIRONMENT, announced_environment
from dev.doctor.findings import Findings, Machine, bad, note, ok
from dev.errors import DevError
from dev.processes import Patience
from dev.stack import PUBLISHED, project_name

GIGABYTE = 10**9
# The packages and two small databases; with Docker two images and what builds them.
DISK_NEEDED = {"embedded": 1 * GIGABYTE, "docker": 4 * GIGABYTE}

EMBEDDED = (ports.APP, ports.POSTGRES, ports.REDIS, ports.METRICS, ports.WORKER_METRICS)


def check_python(machine: Machine) -> Findings:
    """Whether .venv can be made. That Python is new enough was asked before we came here."""
    version = platform.python_version()
    minor = ".".join(map(str, sys.version_info[:2]))
    uv = shutil.which(machine.environment.get("UV", "uv") or "nothing")
    if uv:
        yield ok("Python", f"{version}, and uv makes its environment")
    elif importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip"):
        yield ok("Python", f"{version}, with venv and pip")
    else:
        yield bad(
            "Python",
            f"{version} lacks what makes virtual environments",
            f"apt install python{minor}-venv, or install uv",
        )


def check_account(machine: Machine) -> Findings:
    """Whether what lies in the clone is ours to change."""
    if os.geteuid() == 0:
        yield note("user", "root: everything works, and what is written here belongs to root")
        return
    ours = os.geteuid()
    places = [machine.root, *machine.root.iterdir(), *(machine.root / ".local").glob("*")]
    foreign = sorted(
        str(path.relative_to(machine.root)) for path in places if path.lstat().st_uid != ours
    )
    if foreign:
        yield bad(
            "user",
            f"uid {ours}, but this belongs to somebody else: {', '.join(foreign[:5])}",
            f"sudo chown -R {ours} {machine.root}   (a run with sudo leaves such files)",
        )
    else:
        yield ok("user", f"uid {ours} owns the clone")


def check_disk(machine: Machine) -> Findings:
    """Whether there is room for what is installed and stored."""
    places = {"disk": machine.root}
    docker = Path(str(machine.docker.get("DockerRootDir") or "/nowhere"))
    if machine.runtime == "docker" and docker.is_dir():  # elsewhere it is in a virtual machine
        places["disk of Docker"] = docker
    for what, place in places.items():
        free = shutil.disk_usage(place).free
        needed = DISK_NEEDED[machine.runtime if place == docker else "embedded"]
        says = f"{free / GIGABYTE:.1f} GB free for {place}"
        if free < needed:
            says += f", and {needed / GIGABYTE:.0f} GB are needed"
            yield bad(what, says, "docker builder prune" if place == docker else "make room")
        else:
            yield ok(what, says)


def check_ports(machine: Machine) -> Findings:
    """Which ports `make dev` would take, and who holds those that it can't have."""
    docker = machine.runtime == "docker"
    ours = own_ports(machine)
    for wanted in PUBLISHED.values() if docker else EMBEDDED:
        explicit = machine.environment.get(wanted.variable)
        port = int(explicit) if explicit and explicit.isdecimal() else wanted.default
        what = f"port {port}"
        if port in ours:
            yield ok(what, f"({wanted.variable}) this clone's own, which is running")
        elif not ports.is_taken(port):
            yield ok(what, f"({wanted.variable}) free")
        elif explicit:
            yield bad(
                what,
                f"is asked for by {wanted.variable} and taken by {holder(port, machine)}",
                f"stop that, or choose another: make dev {wanted.variable}={free_port(wanted)}",
            )
        else:
            free = free_port(wanted)
            yield note(
                what,
                f"is taken by {holder(port, machine)}",
                f"make dev goes on with {wanted.variable}={free}; plain `docker compose up` needs "
                f"this said: {wanted.variable}={free} docker compose up"
                if docker
                else f"nothing to do: make dev goes on with {wanted.variable}={free}",
            )


def own_ports(machine: Machine) -> set[int]:
    """Return the ports that belong to what runs from this clone."""
    name = project_name(machine.environment, machine.root)
    found = {
        port
        for container in machine.containers
        if container.project == name and container.folder == machine.root
        for port in container.published.values()
    }
    if ENVIRONMENT.exists():
        announced = announced_environment(Patience(), seconds=0) or {}
        found |= {int(value) for name, value in announced.items() if name.endswith("PORT")}
        found |= {
            int(url.rpartition(":")[2].partition("/")[0])
            for name, url in announced.items()
            if name in {"DATABASE_URL", "REDIS_URL"}
        }
    return found


def holder(port: int, machine: Machine) -> str:
    """Name who holds a port: for Docker's, the container rather than its proxy."""
    for container in machine.containers:
        if port in container.published.values():
            return f"the stack {container.project} of {container.folder}"
    return ports.occupant(port) or "a program of another user (sudo make doctor would name it)"


def free_port(wanted: ports.Wanted) -> int | str:
    """Return the port that `make dev` would take instead."""
    with ExitStack() as held:
        try:
            return ports.claim(wanted, {}, held, lambda _line: None)
        except DevError:
            return "…"
