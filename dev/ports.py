"""Which port each program gets, and who has the one that it wanted."""

import shutil
import socket
import subprocess
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from dev.errors import DevError

LOCALHOST = "127.0.0.1"

# How far past the default to look. More clones than this at once is a mistake.
TRIES = 50


class Wanted(NamedTuple):
    """A port by the variable that sets it, and where the search starts when it is not set."""

    variable: str
    default: int


APP = Wanted("PORT", 8000)
POSTGRES = Wanted("DEV_POSTGRES_PORT", 5433)
REDIS = Wanted("DEV_REDIS_PORT", 6380)
METRICS = Wanted("METRICS_PORT", 9100)
WORKER_METRICS = Wanted("WORKER_METRICS_PORT", 9101)


def claim(
    wanted: Wanted, environment: Mapping[str, str], held: ExitStack, say: Callable[[str], None]
) -> int:
    """Return a port that is free, and keep other launchers off it until `held` closes."""
    explicit = environment.get(wanted.variable)
    if explicit:
        return _claim_explicit(wanted, explicit, held)
    for port in range(wanted.default, wanted.default + TRIES):
        if not is_taken(port) and _mark(port, held):
            if port != wanted.default:
                owner = occupant(wanted.default)
                by = f" (by {owner})" if owner else ""
                say(f"port {wanted.default} is taken{by}, using {port} ({wanted.variable})")
            return port
    raise DevError(
        f"Every port from {wanted.default} to {port} is taken. Choose one: {wanted.variable}=…"
    )


def _claim_explicit(wanted: Wanted, explicit: str, held: ExitStack) -> int:
    if not explicit.isdecimal() or not 0 < int(explicit) < 2**16:
        raise DevError(
            f"{wanted.variable}={explicit} is not a port: it takes a number from 1 to 65535."
        )
    port = int(explicit)
    if is_taken(port):
        raise DevError(
            f"{wanted.variable}={port} is taken by {occupant(port) or 'another program'}. "
            f"Stop that, choose another number, or leave {wanted.variable} unset to get a free one."
        )
    _mark(port, held)
    return port


def is_taken(port: int) -> bool:
    """Whether a server listens there, be it on localhost alone or on every address."""
    with socket.socket() as client:
        client.settimeout(1)
        # macOS would let us bind beside a server that listens on every address.
        if client.connect_ex((LOCALHOST, port)) == 0:
            return True
    with socket.socket() as server:
        # As the servers do: else the port counts as taken for a minute after the last stop.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((LOCALHOST, port))
        except OSError:
            return True
    return False


def _mark(port: int, held: ExitStack) -> bool:
    """Take the UDP port of the same number, which nothing here uses, as a sign to others.

    Between our look at a port and the moment a server listens there, up to seconds pass. A
    second launcher, started at the same moment, fails to take the sign. The kernel removes
    it with the process.
    """
    sign = socket.socket(type=socket.SOCK_DGRAM)
    try:
        sign.bind((LOCALHOST, port))
    except OSError:
        sign.close()
        return False
    held.enter_context(sign)
    return True


def occupant(port: int) -> str | None:
    """Name the process that listens there, as far as we may know it."""
    if Path("/proc/net/tcp").exists():
        return _occupant_in_proc(port)
    if lsof := shutil.which("lsof"):
        command = [lsof, "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fpc"]
        lines = subprocess.run(
            command, check=False, capture_output=True, text=True
        ).stdout.splitlines()
        fields = {line[:1]: line[1:] for line in reversed(lines)}
        if "p" in fields:
            return f"pid {fields['p']} {fields.get('c', '')}".strip()
    return None


def _occupant_in_proc(port: int) -> str | None:
    """Find the listening socket of the port, then the process that holds it.

    The fields of /proc/net/tcp: https://docs.kernel.org/networking/proc_net_tcp.html
    """
    listening = "0A"
    rows = [
        line.split() for table in ("tcp", "tcp6") for line in _lines(Path("/proc/net") / table)[1:]
    ]
    sockets = {
        f"socket:[{row[9]}]"
        for row in rows
        if row[3] == listening and int(row[1].rpartition(":")[2], 16) == port
    }
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(link.readlink()) in sockets for link in (folder / "fd").iterdir()):
                return f"pid {folder.name} {(folder / 'comm').read_text().strip()}"
        except OSError:  # ended, or somebody else's
            continue
    return None


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="ascii").splitlines() if path.exists() else []
