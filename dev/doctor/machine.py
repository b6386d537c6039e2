"""Python, the disk, who we are, and which ports are free."""

import importlib.util
import os
import platform
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

from dev import ports
from dev.clone import announced_environment
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
    """Which ports this clone has, or would take, and who holds those that it can't have."""
    running = own_ports(machine)
    for variable, port in running.items():
        yield ok(f"port {port}", f"({variable}) this clone's own, which is running")
    if running:
        return
    for wanted in PUBLISHED.values() if machine.runtime == "docker" else EMBEDDED:
        explicit = machine.environment.get(wanted.variable)
        port = int(explicit) if explicit and explicit.isdecimal() else wanted.default
        if not ports.is_taken(port):
            yield ok(f"port {port}", f"({wanted.variable}) free")
        elif explicit:
            yield bad(
                f"port {port}",
                f"is asked for by {wanted.variable} and taken by {holder(port, machine)}",
                f"stop that, or choose another: make dev {wanted.variable}={free_port(wanted)}",
            )
        else:
            free = free_port(wanted)
            remedy = f"nothing to do: make dev goes on with {wanted.variable}={free}"
            if machine.runtime == "docker":
                remedy += f"\nwithout make: {wanted.variable}={free} docker compose up"
            yield note(f"port {port}", f"is taken by {holder(port, machine)}", remedy)


def own_ports(machine: Machine) -> dict[str, int]:
    """Return the ports, by their variables, of what runs from this clone."""
    if machine.runtime == "docker":
        name = project_name(machine.environment, machine.root)
        return {
            PUBLISHED[inside].variable: port
            for container in machine.containers
            if container.project == name and container.folder == machine.root
            for inside, port in container.published.items()
            if inside in PUBLISHED
        }
    announced = announced_environment(Patience(), seconds=0) or {}
    urls = {ports.POSTGRES.variable: "DATABASE_URL", ports.REDIS.variable: "REDIS_URL"}
    servers = {
        variable: urlsplit(announced[url]).port
        for variable, url in urls.items()
        if url in announced
    }
    own = {name: int(port) for name, port in announced.items() if name.endswith("PORT")}
    return own | {name: port for name, port in servers.items() if port}


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
