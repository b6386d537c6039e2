"""A copy of the repository, without the files that git ignores, to build and run from."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def copy_of_repository(folder: Path, source: Path = ROOT) -> Path:
    """Copy the tracked files, and the new ones that git would take, as they are now."""
    names = run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT)
    for name in filter(None, names.split("\0")):
        if (source / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, folder / name)
    return folder


def time_of_commit() -> str:
    return run(["git", "log", "-1", "--format=%ct"], cwd=ROOT).strip()


def run(
    command: list[str], *, cwd: Path, env: Mapping[str, str] | None = None, check: bool = True
) -> str:
    """Run a program and return what it printed, errors included."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if check and done.returncode:
        raise AssertionError(f"{command} answered {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout if check else done.stdout + done.stderr


def own_name() -> str:
    """Return a new name for a project, its volumes and its images."""
    return f"drydock-test-{secrets.token_hex(4)}"
