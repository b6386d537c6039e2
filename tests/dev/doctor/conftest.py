"""A clone to look at, and a machine around it of which each test spoils one thing."""

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from dev.doctor.findings import Finding, Findings, Machine, State

PYPROJECT = """\
[project]
name = "drydock"
dependencies = ["fastapi>=0.165"]

[dependency-groups]
dev = ["ruff>=0.17"]
"""
LOCK = "fastapi==0.165.0 \\\n    --hash=sha256:00\n    # via drydock (pyproject.toml)\n"
CONSTRAINED = "    # via\n    #   -c requirements.txt\n    #   "
CONSTRAINED_LOCK = LOCK.replace("    # via ", CONSTRAINED)
DEV_LOCK = "ruff==0.17.0 \\\n    --hash=sha256:00\n    # via drydock (pyproject.toml:dev)\n"
FILES = {
    ".gitattributes": "* text=auto eol=lf\n",
    ".env.example": "# DATABASE_PASSWORD=\nDATABASE_POOL_SIZE=10\n# PORT=8000\n",
    "compose.yaml": "image: ${APP_IMAGE:-drydock}\n",
    "pyproject.toml": PYPROJECT,
    "requirements.txt": LOCK,
    "requirements-dev.txt": CONSTRAINED_LOCK + DEV_LOCK,
    "deploy/build": "#!/bin/sh\necho built\n",
}

MakeMachine = Callable[..., Machine]
Check = Callable[[Machine], Findings]


def shell(root: Path, command: str) -> None:
    """Follow a remedy as a person would: paste it."""
    subprocess.run(["sh", "-c", command], cwd=root, check=True, capture_output=True)


def only(check: Check, machine: Machine) -> Finding:
    [found] = check(machine)
    return found


def worst(check: Check, machine: Machine) -> Finding:
    """The first that is bad, or a note, or fine."""
    order = [State.BAD, State.NOTE, State.OK]
    return min(check(machine), key=lambda finding: order.index(finding.state))


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    root = tmp_path / "clone"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "deploy/build").chmod(0o755)
    shell(
        root,
        "git init --quiet && git add --all && "
        "git -c user.name=t -c user.email=t@localhost commit --quiet --message all",
    )
    return root


@pytest.fixture
def machine(clone: Path) -> MakeMachine:
    def make(
        *, runtime: str = "embedded", docker: Mapping[str, Any] | None = None, **environment: str
    ) -> Machine:
        return Machine(clone, environment, runtime, [], docker or {})

    return make
