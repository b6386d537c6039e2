"""Running Postgres when we are root, which it refuses to be.

Here: as which account it runs then, and where its files must lie so that this account can
reach them. For an ordinary user every function here returns what it was given.
"""

import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from dev.errors import ServerError

# Root's own place for a program's data. /var/tmp is for systems without it, macOS among
# them, and is not the first choice because systemd clears it of files older than 30 days.
SHELTERS = (Path("/var/lib"), Path("/var/tmp"))  # noqa: S108 - mkdtemp makes the folder


class Account(NamedTuple):
    """Whose rights a server gets."""

    uid: int
    gid: int


def server_account() -> Account | None:
    """Return whom Postgres runs as: nobody when we are root, otherwise just us (None)."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise ServerError(
            "Postgres refuses to run as root, and this machine has no account `nobody` to run it."
        ) from None
    return Account(entry.pw_uid, entry.pw_gid)


def give(path: Path, account: Account | None) -> None:
    """Make the account the owner."""
    if account:
        os.chown(path, account.uid, account.gid)


def is_open(path: Path) -> bool:
    """Whether everybody may read it and pass every folder above it.

    Looks at the mode bits alone: where an access list would allow more, the cost of
    the wrong no is a copy.
    """
    path = path.resolve()
    folders = (path, *path.parents) if path.is_dir() else path.parents
    readable = bool(path.stat().st_mode & stat.S_IROTH)
    return readable and all(folder.stat().st_mode & stat.S_IXOTH for folder in folders)


def shelter(folder: Path, account: Account | None) -> Path:
    """Return where the account can have files for this folder: in it, or where it points to.

    The modes of folders that aren't ours, such as /root, are never changed.
    """
    pointer = folder / "elsewhere"
    if account is None or (is_open(folder) and not pointer.is_symlink()):
        return folder
    if pointer.is_dir():
        return pointer.resolve()
    pointer.unlink(missing_ok=True)  # it points to a place that was removed
    parent = next(place for place in SHELTERS if place.is_dir() and os.access(place, os.W_OK))
    # mkdtemp: a name that nobody could have prepared in a folder open to all.
    elsewhere = Path(tempfile.mkdtemp(prefix="drydock-", dir=parent))
    elsewhere.chmod(0o755)
    pointer.symlink_to(elsewhere)
    return elsewhere


def discard(folder: Path) -> None:
    """Remove a folder of a server, and what it points to."""
    pointer = folder / "elsewhere"
    if pointer.is_symlink():
        shutil.rmtree(pointer.resolve(), ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a folder for servers that live as long as the block, reachable by their account."""
    folder = Path(tempfile.mkdtemp(prefix="drydock-"))
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        discard(folder)


def open_copy(
    package: Path, version: str, *, probe: Path, place: Path, account: Account | None
) -> Path:
    """Return a package whose programs the account can run: this one, or a copy in the place.

    The probe is one of its files, which stands for all. A copy costs 42 MB, once for each
    version: it is the answer to a .venv under /root, or one made with a strict umask.
    """
    if account is None or is_open(probe):
        return package
    copy = place / f"programs-{version}"
    if not copy.is_dir():
        for outdated in place.glob("programs-*"):
            shutil.rmtree(outdated)
        unfinished = place / "programs-unfinished"
        # Its sibling "….libs" comes along: the programs find it by its relative path.
        for source in (package, package.with_name(package.name + ".libs")):
            if source.is_dir():
                shutil.copytree(source, unfinished / source.name, symlinks=True)
        for path in (unfinished, *unfinished.rglob("*")):
            if not path.is_symlink():
                mode = path.stat().st_mode
                path.chmod(mode | (0o555 if mode & stat.S_IXUSR else 0o444))
        unfinished.rename(copy)
    return copy / package.name
