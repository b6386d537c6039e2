"""Which command runs this clone's servers, and where they are.

A clone has at most one owner: `make dev`, or a command that started the servers for itself. The
owner holds a lock on a file. The kernel drops the lock after a crash, so no stale pid file remains.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from dev.errors import AlreadyRunningError
from dev.files import LOCAL, make_folder, open_lock, sign, signature, try_lock, write_private
from dev.processes import Patience, running

TOKEN = LOCAL / "token"
OWNER = LOCAL / "run" / "owner"
ENVIRONMENT = LOCAL / "run" / "environment.json"

# After a SIGKILL of the launcher, the guardian ends its four children in up to 5 s each.
CLEANED_UP_SECONDS = 25


@contextmanager
def own(purpose: str, patience: Patience) -> Iterator[None]:
    """Own the clone inside the block.

    The guardian inherits the lock. If an owner dies, the clone stays locked until the owner's
    children have ended. The next owner waits for that.
    """
    make_folder(LOCAL)
    make_folder(OWNER.parent)
    lock = open_lock(OWNER)
    os.set_inheritable(lock, True)  # noqa: FBT003 - the name says what is true
    try:
        deadline = time.monotonic() + CLEANED_UP_SECONDS
        while not try_lock(lock):
            pid, _, current = signature(lock).partition(" ")
            if (pid and running([int(pid)])) or time.monotonic() > deadline:
                raise AlreadyRunningError(
                    f"This clone is already running: {current} (pid {pid}).\n"
                    f"Stop it with Ctrl-C in its terminal, or with: kill {pid}"
                )
            patience.pause(0.1)
        sign(lock, f"{os.getpid()} {purpose}")
        ENVIRONMENT.unlink(missing_ok=True)  # a crashed owner may have left it
        yield
    finally:
        os.close(lock)


@contextmanager
def announced(environment: Mapping[str, str]) -> Iterator[None]:
    """Inside the block, other commands of this clone can find the running servers."""
    write_private(ENVIRONMENT, json.dumps(environment, indent=1))
    try:
        yield
    finally:
        ENVIRONMENT.unlink(missing_ok=True)


def announced_environment(patience: Patience, *, seconds: float) -> dict[str, str] | None:
    """Return what the owner announced, or None. Wait up to `seconds` for an owner that starts.

    None means that there is no owner, or that it announces nothing.
    """
    deadline = time.monotonic() + seconds
    while not ENVIRONMENT.exists():
        if time.monotonic() > deadline:
            return None
        patience.pause(0.1)
    lock = open_lock(OWNER)
    try:
        if try_lock(lock):
            return None
    finally:
        os.close(lock)
    found: dict[str, str] = json.loads(ENVIRONMENT.read_text(encoding="utf-8"))
    return found
