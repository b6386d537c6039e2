"""Checks of the clone, the disk and the ports."""

import os
import re
import shlex
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

from dev import ports
from dev.accounts import orphans, outside
from dev.clone import announced_environment
from dev.doctor.findings import Finding, Findings, Machine, bad, note, ok
from dev.environment import DOTENV, read_dotenv
from dev.errors import DevError
from dev.files import LOCAL, ROOT
from dev.install import VENV, is_current, reason_to_rebuild
from dev.processes import Patience
from dev.stack import VARIABLES

GIGABYTE = 10**9
# Embedded: packages and two small databases. Docker: two images and the cache of their builds.
DISK_NEEDED = {"embedded": 1 * GIGABYTE, "docker": 4 * GIGABYTE}


def check_dotenv(_machine: Machine) -> Findings:
    """Whether `make dev` and Compose can read .env."""
    try:
        read_dotenv()
    except DevError as error:
        yield bad(
            ".env", str(error), "iconv -f latin1 -t utf-8 .env > .env.new && mv .env.new .env"
        )
        return
    if DOTENV.exists() and DOTENV.read_bytes().startswith(b"\xef\xbb\xbf"):
        yield note(
            ".env",
            "begins with a byte order mark, which some programs take for a part of the first name",
            "tail -c +4 .env > .env.new && mv .env.new .env",
        )
    else:
        yield ok(
            ".env",
            "can be read"
            if DOTENV.exists()
            else "there is none, so all settings have their defaults",
        )


def check_line_ends(_machine: Machine) -> Findings:
    """Whether files have CRLF line ends, which shells can't read. Git on Windows writes them."""
    command = ["git", "-C", str(ROOT), "ls-files", "--eol"]
    try:
        listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        yield note("line ends", "not checked: this is no git repository, or git is missing")
        return
    # i/lf    w/crlf  attr/text=auto eol=lf 	deploy/build
    spoilt = re.findall(r"w/(?:crlf|mixed).* eol=lf *\t(.+)", listed)
    if spoilt:
        yield bad(
            "line ends",
            f"CRLF in {shortened(spoilt)}",
            "commit your work, then write the files again: git checkout-index --force --all",
        )
    else:
        yield ok("line ends", "LF everywhere")


def check_owner(_machine: Machine) -> Findings:
    """Whether this user owns the files of the clone."""
    ours = os.geteuid()
    places = [ROOT, *ROOT.iterdir(), *(ROOT / ".local").glob("*")]
    foreign = sorted(str(path.relative_to(ROOT)) for path in places if path.lstat().st_uid != ours)
    if ours and foreign:
        yield bad(
            "user",
            f"uid {ours}, but another account owns {shortened(foreign)}",
            f"sudo chown -R {ours} {ROOT}   (a run with sudo leaves such files)",
        )
    else:
        yield ok("user", f"uid {ours} can change the clone")


def shortened(paths: list[str]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""  # noqa: PLR2004 - enough to see
    return ", ".join(paths[:3]) + more


def check_packages(_machine: Machine) -> Findings:
    """Whether .venv has the packages of requirements-dev.txt and was made for this folder."""
    if is_current():
        yield ok("packages", ".venv has the packages of requirements-dev.txt")
        return
    reason = (
        (reason_to_rebuild() or "requirements-dev.txt has changed")
        if VENV.exists()
        else "there is none"
    )
    yield note("packages", f".venv: {reason}", "nothing to do: the next make installs them")


def check_disk(machine: Machine) -> Findings:
    """Whether the disks have enough free space."""
    places = {ROOT: ("disk", "embedded", "make room")}
    docker = Path(machine.engine.get("DockerRootDir", "/nowhere"))
    if machine.uses_docker and docker.is_dir():  # if not, Docker runs in a virtual machine
        places[docker] = ("disk of Docker", "docker", "docker builder prune")
    for place, (what, runtime, remedy) in places.items():
        free, needed = shutil.disk_usage(place).free, DISK_NEEDED[runtime]
        says = f"{free / GIGABYTE:.1f} GB free for {place}"
        if free < needed:
            yield bad(what, f"{says}, but {needed / GIGABYTE:.0f} GB are needed", remedy)
        else:
            yield ok(what, says)


def check_leftovers(_machine: Machine) -> Findings:
    """Whether a database under /var/lib belongs to a clone that was moved or removed."""
    for home, folder in orphans().items():
        move = shlex.join(["mv", str(home), str(outside(LOCAL / "postgres"))])
        yield note(
            "old data",
            f"{home} holds the database of {folder}, which is gone",
            f"if that clone was moved here: {move}\nif not, remove the data: rm -r {home}",
        )


def check_ports(machine: Machine) -> Findings:
    """Which ports this clone has or would take, and which process has a port that it can't get."""
    running = own_ports(machine)
    for variable, port in running.items():
        yield ok(f"port {port}", f"({variable}) this clone's own, in use now")
    embedded = [name for name in ports.DEFAULTS if name != "DEBUGGER_PORT"]
    wanted = VARIABLES.values() if machine.runtime == "docker" else embedded
    for variable in () if running else wanted:
        yield check_port(machine, variable)


def check_port(machine: Machine, variable: str) -> Finding:
    default, asked = ports.DEFAULTS[variable], machine.environment.get(variable, "")
    port = int(asked) if asked.isdecimal() else default
    # Docker's own process listens for a container. The name of the stack says more.
    stacks = (
        f"the stack {found.project} of {found.folder}"
        for found in machine.containers
        if port in found.published.values()
    )
    holder = next(stacks, None) or ports.occupant(port) or "another program"
    with ExitStack() as held:
        try:
            engine = machine.runtime == "docker"
            given = {variable: asked}
            free = ports.claim(variable, given, held, lambda _: None, by_engine=engine)
        except DevError as error:
            says = f"{error} ({holder})"
            return bad(f"port {asked}", says, f"make dev {variable}={port + 1}")
    if free == port:
        return ok(f"port {free}", f"({variable}) free")
    return note(
        f"port {default}",
        f"is taken by {holder}",
        f"nothing to do: make dev takes {variable}={free}",
    )


def own_ports(machine: Machine) -> dict[str, int]:
    """Return the ports of this clone's running servers, by their variables."""
    if machine.runtime == "docker":
        stacks = [found for found in machine.containers if found.is_development]
        own = [found for found in stacks if found.folder.resolve() == ROOT]
        pairs = [pair for found in own for pair in found.published.items()]
        return {VARIABLES[inside]: port for inside, port in pairs if inside in VARIABLES}
    announced = announced_environment(Patience(), seconds=0) or {}
    urls = {"POSTGRES_PORT": "DATABASE_URL", "REDIS_PORT": "REDIS_URL"}
    found = {name: urlsplit(announced.get(url, "")).port for name, url in urls.items()}
    found |= {name: int(port) for name, port in announced.items() if name.endswith("PORT")}
    return {name: port for name, port in found.items() if port}


CHECKS = (
    check_dotenv,
    check_line_ends,
    check_owner,
    check_packages,
    check_disk,
    check_leftovers,
    check_ports,
)
