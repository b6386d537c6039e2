"""The development stack: a copy of the repository, which its containers mount."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.sockets import unused_port
from tests.stack.source import copy_of_repository
from tests.stack.stack import Stack, project

# The uid and gid of a developer. Only root can give files to another user.
OWNER = (os.geteuid() or 1000, os.getegid() or 1000)

DEVELOPMENT = ("compose.yaml", "compose.override.yaml")


@contextmanager
def development(source: Path, folder: Path, repository: str, *more: str) -> Iterator[Stack]:
    """A development stack that is not up yet; `more` names further Compose files."""
    ports = ("PORT", "POSTGRES_PORT", "REDIS_PORT", "DEBUGGER_PORT")
    variables = {"DEVELOPMENT_IMAGE": repository, **{port: str(unused_port()) for port in ports}}
    files = (*DEVELOPMENT, *more)
    with project(source, folder, files=files, variables=variables) as stack:
        yield stack


def checked_out(folder: Path, source: Path, *, owner: tuple[int, int] = OWNER) -> Path:
    """Copy the repository for a user with this uid and gid."""
    copy_of_repository(folder, source)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, *owner, follow_symlinks=False)
    open_way_to(folder)
    return folder


def open_way_to(folder: Path) -> None:
    """Let everybody enter a folder: only root may enter those that pytest makes."""
    for parent in folder.parents:
        if "pytest" in parent.name:
            parent.chmod(0o755)
    folder.chmod(0o755)


def owners(folder: Path) -> set[tuple[int, int]]:
    found = [path.lstat() for path in (folder, *folder.rglob("*"))]
    return {(status.st_uid, status.st_gid) for status in found}
