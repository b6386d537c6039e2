"""Somebody's own service, made by `make init`: pushed under another name, with its own history."""

import os
import re
import shutil
from pathlib import Path

from template import ROOT
from tests.stack.source import copy_of_repository, run

# Every test, as on GitHub: half an hour. By default the copy carries a few of each suite.
WHOLE = bool(os.environ.get("WORKFLOWS_WHOLE"))
# Without lint and the tests that need no container: half the time, for work on the other jobs.
QUICK = bool(os.environ.get("WORKFLOWS_QUICK"))
KEPT = "test_registry or test_commit or test_production"
NAME = "Some-One/Their-Links"
IDENTITY = ("-c", "user.name=Some One", "-c", "user.email=someone@example.com")


class Clone:
    """A clone whose remote is a bare repository, that GitHub is said to host."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "links"
        bare = folder / "their-links.git"
        run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(bare)], cwd=folder)
        copy_of_repository(self.folder)
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit("The template")
        (self.folder / ".git/info/exclude").write_text(".venv\n")
        (self.folder / ".venv").symlink_to(ROOT / ".venv")
        run(["make", "init", "NAME=theirlinks"], cwd=self.folder)
        (self.folder / ".venv").unlink()
        if not WHOLE:
            self.carry_fewer_tests()
        if QUICK:
            self.skip_checks()
        self.git("remote", "add", "origin", str(bare))
        self.commit("Call it theirlinks")
        self.git("push", "--quiet", "origin", "main")
        # act reads the repository's name from it, as GitHub knows its own.
        self.git("remote", "set-url", "origin", f"https://github.com/{NAME}.git")

    def git(self, *words: str) -> str:
        return run(["git", *IDENTITY, *words], cwd=self.folder).strip()

    def commit(self, message: str) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.head

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    def carry_fewer_tests(self) -> None:
        """Run a few of each suite; all stay, since lint reads them and some import others."""
        narrowed = f'addopts = ["-k", "{KEPT}", "--strict-markers"]'
        self.edit("pyproject.toml", 'addopts = ["--strict-markers"]', narrowed)
        self.edit("pyproject.toml", "fail_under = 95", "fail_under = 0")

    def skip_checks(self) -> None:
        """Leave out the job before the image: what is asked is what stops that one."""
        makefile = (self.folder / "Makefile").read_text()
        rule = re.compile(r"^check: .*\n(?:\t.*\n)+", re.MULTILINE)
        self.write("Makefile", rule.sub("check:\n\t@echo skipped\n", makefile))

    def test_only(self, test: str) -> None:
        """Have one test of the containers, given as its source."""
        for old in self.folder.glob("tests/stack/test_*.py"):
            old.unlink()
        self.write("tests/stack/test_production.py", test)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.folder / name).read_text()
        assert old in text
        self.write(name, text.replace(old, new))

    def remove(self) -> None:
        shutil.rmtree(self.folder)
