"""Files with a special need: folders that others pass through, secrets, locks."""

import fcntl
import os
from pathlib import Path


def make_folder(folder: Path) -> Path:
    """Create it so that a server's own account can pass through (see accounts.py)."""
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


def open_lock(path: Path) -> int:
    """Open a file to lock; whoever inherits the descriptor holds the lock too."""
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)


def try_lock(lock: int) -> bool:
    """Take the lock if nobody has it. The kernel drops it with the last process that holds it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def sign(lock: int, text: str) -> None:
    """Write into a lock that we hold, for those who don't get it."""
    os.truncate(lock, 0)
    os.pwrite(lock, text.encode(), 0)


def signature(lock: int) -> str:
    """Read what the holder of a lock wrote."""
    return os.pread(lock, 1000, 0).decode(errors="replace")
