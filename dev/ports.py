"""Which port each program gets, and which process has a port that is taken."""

import shutil
import socket
import subprocess
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from dev.errors import DevError

LOCALHOST = "127.0.0.1"

# Without the variable, the search starts at this port.
DEFAULTS = {
    "PORT": 8000,
    "POSTGRES_PORT": 5432,
    "REDIS_PORT": 6379,
    "METRICS_PORT": 9100,
    "WORKER_METRICS_PORT": 9101,
    "DEBUGGER_PORT": 5678,
    "PROMETHEUS_PORT": 9090,
    "GRAFANA_PORT": 3000,
    "JAEGER_PORT": 16686,
}
# How many ports to try: more clones than anybody runs at once.
TRIES = 50


def claim(
    variable: str,
    given: Mapping[str, str],
    held: ExitStack,
    say: Callable[[str], None],
    *,
    by_engine: bool = False,
) -> int:
    """Return the port that the variable names, or a free one if the variable is not set.

    No other launcher takes this port until `held` closes. `by_engine` means that a Docker Engine
    will open it, which may open ports that our user may not.
    """
    if asked := given.get(variable):
        return _claim_asked(variable, asked, held, by_engine=by_engine)
    default = DEFAULTS[variable]
    for port in range(default, default + TRIES):
        if not is_taken(port) and _mark(port, held):
            if port != default:
                owner = occupant(default)
                by = f" (by {owner})" if owner else ""
                say(f"port {default} is taken{by}, using {port} ({variable})")
            return port
    raise DevError(f"Every port from {default} to {port} is taken. Choose one: {variable}=…")


def _claim_asked(variable: str, asked: str, held: ExitStack, *, by_engine: bool) -> int:
    if not asked.isdecimal() or not 0 < int(asked) < 2**16:
        raise DevError(f"{variable}={asked} is not a port. Choose a number from 1 to 65535.")
    port = int(asked)
    try:
        if is_taken(port):
            raise DevError(
                f"{variable}={port} is taken by {occupant(port) or 'another program'}. "
                f"Stop that, choose another number, or leave {variable} unset to get a free one."
            )
        _mark(port, held)
    except PermissionError:
        if not by_engine:
            raise DevError(f"{variable}={port} is for root alone. Choose 1024 or more.") from None
    return port


def is_taken(port: int) -> bool:
    """Whether a server listens there, on localhost alone or on every address.

    Raises PermissionError for a port that only root may open.
    """
    with socket.socket() as client:
        client.settimeout(1)
        # On macOS, bind below succeeds although a server listens on every address.
        if client.connect_ex((LOCALHOST, port)) == 0:
            return True
    with socket.socket() as server:
        # The servers set this too. Without it, the port counts as taken for a minute after a stop.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((LOCALHOST, port))
        except PermissionError:
            raise
        except OSError:
            return True
    return False


def _mark(port: int, held: ExitStack) -> bool:
    """Reserve the port for seconds until our server listens, by binding its UDP twin.

    Other launchers check the UDP port too, and nothing here uses UDP. The kernel frees it when this
    process ends. Returns False if another launcher has it.
    """
    mark = socket.socket(type=socket.SOCK_DGRAM)
    try:
        mark.bind((LOCALHOST, port))
    except OSError:
        mark.close()
        return False
    held.enter_context(mark)
    return True


def occupant(port: int) -> str | None:
    """Name the process that listens there, or return None if we may not see it."""
    if not Path("/proc/net/tcp").exists():
        lsof = [shutil.which("lsof") or "true", "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fpc"]
        said = subprocess.run(lsof, check=False, capture_output=True, text=True).stdout.split("\n")
        return f"pid {said[0][1:]} {said[1][1:]}" if len(said) > 1 else None
    # The fields: https://docs.kernel.org/networking/proc_net_tcp.html
    tables = [path for path in Path("/proc/net").glob("tcp*") if path.name in {"tcp", "tcp6"}]
    rows = [row.split() for table in tables for row in table.read_text().splitlines()[1:]]
    sockets = {
        f"socket:[{row[9]}]"
        for row in rows
        if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port  # 0A: it listens
    }
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(link.readlink()) in sockets for link in (process / "fd").iterdir()):
                return f"pid {process.name} {(process / 'comm').read_text().strip()}"
        except OSError:  # ended, or somebody else's
            continue
    return None
