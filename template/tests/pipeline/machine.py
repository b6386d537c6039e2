"""A clone, and fake programs that record their arguments."""

import os
import shutil
import subprocess
from pathlib import Path

from template.tests.pipeline.scripts import SCRIPTS, Said, run_script, stand_in


class Machine:
    """A folder with a copy of the scripts, a commit, and fake programs first on PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "clone"
        self.bin = folder / "bin"
        self.noted = folder / "noted"
        shutil.copytree(SCRIPTS, self.folder / "deploy/pipeline")
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit()

    def git(self, *words: str) -> str:
        identity = ["-c", "user.name=A", "-c", "user.email=a@example.com"]
        command = ["git", *identity, *words]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit(self) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "One")
        return self.git("rev-parse", "HEAD")

    def stand_in(self, name: str, script: str = "") -> None:
        stand_in(self.bin, name, f'echo "{name} $*" >>"{self.noted}"\n{script}')

    def run(self, name: str, *words: object, **environment: str) -> Said:
        path = f"{self.bin}:{os.environ['PATH']}"
        return run_script(name, *words, folder=self.folder, PATH=path, **environment)

    @property
    def calls(self) -> list[str]:
        return self.noted.read_text().splitlines() if self.noted.exists() else []
