"""Which account Postgres runs as. It refuses to run as root, so root starts it as `nobody`.

`nobody` can't reach root's folders, so Postgres's files may be in a folder under /var/lib. For any
other user, Postgres runs as that user, and its files are in the clone.
"""

import hashlib
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

# The folders for programs' data, on Linux and on macOS. Only root can write there, so nobody else
# can create our folder first.
PLACES = (Path("/var/lib"), Path("/var/db"))
PREFIX = "dev-postgres-"
# The name of a file. It contains the path of the folder that the data belongs to.
BELONGS = "belongs-to"


class Account(NamedTuple):
    """The account that a server runs as."""

    uid: int
    gid: int


def server_account() -> Account | None:
    """Return the account for Postgres: `nobody` if we are root, else None, which means our own."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise ServerError(
            "Postgres refuses to run as root, and this machine has no account `nobody`. "
            "Make one: useradd nobody"
        ) from None
    return Account(entry.pw_uid, entry.pw_gid)


def give(path: Path, account: Account | None) -> None:
    if account:
        os.chown(path, account.uid, account.gid)


def is_open(path: Path) -> bool:
    """Whether the mode bits let every account read it and pass the folders above it."""
    path = path.resolve()
    folders = (path, *path.parents) if path.is_dir() else path.parents
    readable = bool(path.stat().st_mode & stat.S_IROTH)
    return readable and all(folder.stat().st_mode & stat.S_IXOTH for folder in folders)


def home_of(folder: Path, account: Account | None) -> Path:
    """Return the folder where the account can keep its files: this one, or one under /var/lib."""
    home = outside(folder)
    if account is None or (is_open(folder) and not home.is_dir()):
        return folder
    home.mkdir(exist_ok=True)
    home.chmod(0o755)
    (home / BELONGS).write_text(str(folder.resolve()), encoding="utf-8")
    return home


def outside(folder: Path) -> Path:
    """Return the folder under /var/lib for this folder's files. Its name is a hash of the path."""
    place = next((place for place in PLACES if place.is_dir()), PLACES[0])
    return place / f"{PREFIX}{hashlib.sha256(bytes(folder.resolve())).hexdigest()[:12]}"


def orphans() -> dict[Path, str]:
    """Return the folders under /var/lib whose clone is gone, each with the clone's old path."""
    notes = [note for place in PLACES for note in place.glob(f"{PREFIX}*/{BELONGS}")]
    named = {note.parent: note.read_text("utf-8") for note in notes if os.access(note, os.R_OK)}
    return {home: folder for home, folder in named.items() if not Path(folder).is_dir()}


def discard(folder: Path) -> None:
    """Remove a server's folder, and its files under /var/lib."""
    shutil.rmtree(outside(folder), ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a folder for servers, and remove it at the end of the block."""
    folder = Path(tempfile.mkdtemp(prefix="drydock-"))
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        discard(folder / "postgres")
        shutil.rmtree(folder, ignore_errors=True)
