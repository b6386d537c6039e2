"""The clone: where its things lie, and who runs it.

A clone has at most one owner at a time (`make dev`, or a command that started the servers
for itself). Ownership is a lock on a file, not a pid in one: the kernel drops it when the
last process that holds it is gone, so a crash leaves nothing to clean up.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from dev.errors import AlreadyRunningError
from dev.processes import Patience, running

ROOT = Path(__file__).resolve().parents[1]
LOCAL = ROOT / ".local"
LOGS = LOCAL / "log"
TOKEN = LOCAL / "token"
OWNER = LOCAL / "run" / "owner"
ENVIRONMENT = LOCAL / "run" / "environment.json"

# A launcher that was SIGKILLed leaves its children to the guardian, which gives each of
# them five seconds before it kills; there are four.
CLEANED_UP_SECONDS = 25


def make_folder(folder: Path) -> Path:
    """Create it with the mode that lets a server's own account pass through (see accounts.py)."""
    if not folder.is_dir():
        folder.mkdir(parents=True)
        folder.chmod(0o755)  # whatever the umask; what is secret has a mode of its own
    return folder


def write_private(path: Path, text: str) -> None:
    """Write a secret: mode 0600 from its first byte on, and never half of it."""
    unfinished = path.with_name(path.name + ".new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    unfinished.replace(path)


@contextmanager
def own(purpose: str, patience: Patience) -> Iterator[int]:
    """Own the clone inside the block.

    Yields the lock's descriptor. Children that inherit it keep the clone owned after the
    launcher's death, until the guardian has stopped them too.
    """
    make_folder(LOCAL)
    make_folder(OWNER.parent)
    descriptor = os.open(OWNER, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _lock(descriptor, patience)
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {purpose}".encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int, patience: Patience) -> None:
    deadline = time.monotonic() + CLEANED_UP_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid, _, purpose = os.pread(descriptor, 200, 0).decode().partition(" ")
            owner_lives = pid.isdigit() and bool(running([int(pid)]))
            if owner_lives or time.monotonic() > deadline:
                message = (
                    f"This clone is already running: pid {pid or 'unknown'} ({purpose or 'just starting'}).\n"
                    f"Stop it with Ctrl-C in its terminal, or with: kill {pid}"
                )
                raise AlreadyRunningError(message) from None
            patience.pause(0.1)
        else:
            return


@contextmanager
def announced(environment: Mapping[str, str]) -> Iterator[None]:
    """Let other commands of this clone find the running servers, inside the block."""
    write_private(ENVIRONMENT, json.dumps(environment, indent=1))
    try:
        yield
    finally:
        ENVIRONMENT.unlink(missing_ok=True)


def running_environment(patience: Patience, *, seconds: float) -> dict[str, str] | None:
    """Return what the owner announced, waiting that long for one that is just starting."""
    deadline = time.monotonic() + seconds
    while True:
        if ENVIRONMENT.exists():
            found: dict[str, str] = json.loads(ENVIRONMENT.read_text(encoding="utf-8"))
            return found
        if time.monotonic() > deadline:
            return None
        patience.pause(0.1)
