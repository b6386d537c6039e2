"""A service that `make init` has made, with another name and its own history."""

import os
import re
import shutil
from pathlib import Path

from template import ROOT
from tests.stack.source import copy_of_repository, run

# Set it to run every test, as GitHub does, in half an hour. By default, a few of each suite run.
WHOLE = bool(os.environ.get("WORKFLOWS_WHOLE"))
# Set it to skip lint and the tests without containers, in half the time.
QUICK = bool(os.environ.get("WORKFLOWS_QUICK"))
KEPT = "test_registry or test_commit or test_production"
NAME = "Some-One/Their-Links"
IDENTITY = ("-c", "user.name=Some One", "-c", "user.email=someone@example.com")


class Clone:
    """A clone. Its remote is a bare repository that stands for GitHub."""

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
        # act reads the name of the repository from it.
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
        """Run only a few tests. The others stay, because lint reads them and some import others."""
        narrowed = f'addopts = ["-k", "{KEPT}", "--strict-markers"]'
        self.edit("pyproject.toml", 'addopts = ["--strict-markers"]', narrowed)
        self.edit("pyproject.toml", "fail_under = 95", "fail_under = 0")

    def skip_checks(self) -> None:
        """Skip the checks of the job before the image, to test what stops the image."""
        makefile = (self.folder / "Makefile").read_text()
        rule = re.compile(r"^check: .*\n(?:\t.*\n)+", re.MULTILINE)
        self.write("Makefile", rule.sub("check:\n\t@echo skipped\n", makefile))

    def test_only(self, test: str) -> None:
        """Replace the container tests with one, given as source."""
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
