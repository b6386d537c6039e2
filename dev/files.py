"""The path of the clone, and folders for other accounts, secret files and lock files."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCAL = ROOT / ".local"


def make_folder(folder: Path) -> None:
    """Create a folder that other accounts can enter, whatever the umask."""
    if not folder.is_dir():
        folder.mkdir(parents=True)
        folder.chmod(0o755)


def write_private(path: Path, text: str) -> None:
    """Write a secret atomically, so that no other account can read it."""
    unfinished = path.with_name(path.name + ".new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    unfinished.replace(path)


def open_lock(path: Path) -> int:
    """Open a lock file. A process that inherits the descriptor holds the lock too."""
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock on a file inside the block. This waits for another holder."""
    lock = open_lock(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def try_lock(lock: int) -> bool:
    """Take the lock if it is free. The kernel releases it when its last holder has ended."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def sign(lock: int, text: str) -> None:
    """Write the holder's name into a lock that we hold."""
    os.truncate(lock, 0)
    os.pwrite(lock, text.encode(), 0)


def signature(lock: int) -> str:
    """Read what the holder of a lock wrote."""
    return os.pread(lock, 1000, 0).decode(errors="replace")
