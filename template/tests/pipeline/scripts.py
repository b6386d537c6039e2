"""Runs the scripts of deploy/pipeline as a workflow does, with fake programs."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from template import ROOT

SCRIPTS = ROOT / "deploy/pipeline"


class Said(NamedTuple):
    code: int
    out: str
    err: str


def run_script(name: str, *words: object, folder: Path = ROOT, **environment: str) -> Said:
    script = str(folder / "deploy/pipeline" / name)
    command = [sys.executable, script] if name.endswith(".py") else [script]
    done = subprocess.run(
        [*command, *map(str, words)],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return Said(done.returncode, done.stdout, done.stderr)


def stand_in(folder: Path, name: str, script: str) -> None:
    """Write a fake program. It replaces the real one if PATH begins with the folder."""
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text(f"#!/usr/bin/env bash\n{script}\n")
    program.chmod(0o755)
