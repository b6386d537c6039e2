"""Updates between past commits of this repository, after random edits and deletions of a team.

UPDATE_SEED repeats the edits of a run.
"""

import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from dev import update as command
from template import ROOT
from template.tests.init.conftest import git, save

# How many commits before HEAD the clone was made, and the version that it takes in.
PAIRS = [(5, 0), (20, 0), (40, 10), (80, 0), (120, 20)]
SEED = int(os.environ.get("UPDATE_SEED") or random.randrange(10**6))
PLACE = re.compile(r"^(?:async def|def|class) ")
CHECKS = [
    *(["ruff", "check"], ["ruff", "format", "--check"], ["mypy"], ["lint-imports"]),
    ["pytest", "-q", "-p", "no:schemathesis", "tests/test_config.py", "tests/test_env_example.py"],
    ["pytest", "-q", "-p", "no:schemathesis", "tests/test_cli.py", "tests/infra/test_logs.py"],
]


def clone_at(commit: str, folder: Path, sample: str) -> Path:
    """A clone that a team made at the commit."""
    folder.parent.chmod(0o755)
    git(ROOT, "clone", "--quiet", "--no-local", str(ROOT), str(folder))
    git(folder, "checkout", "--quiet", "-B", "main", commit)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    (folder / ".git/info/exclude").write_text(".venv\n")
    init = [sys.executable, "-m", "template.init", "orders", sample]
    subprocess.run(init, check=True, cwd=folder, capture_output=True)
    save(folder)
    return folder


def edit(root: Path, chance: random.Random) -> list[str]:
    """Add comments to modules, words to pages, and delete tests and pages; return what is gone."""
    names = git(root, "ls-files", "app", "dev", "tests", "docs", "compose.yaml").splitlines()
    for name in chance.sample([name for name in names if name.endswith(".py")], 30):
        lines = (root / name).read_text().split("\n")
        places = [at for at, line in enumerate(lines) if PLACE.match(line) and not lines[at - 1]]
        for at in sorted(chance.sample(places, min(2, len(places))), reverse=True):
            lines.insert(at, "# A reason of the team.")
        (root / name).write_text("\n".join(lines))
    pages = [name for name in names if name.endswith(".md")]
    for name in chance.sample(pages, 4):
        lines = (root / name).read_text().split("\n")
        for at in chance.sample(range(len(lines)), 3):
            lines[at] += " The team's word."
        (root / name).write_text("\n".join(lines))
    tests = [name for name in names if re.match(r"tests/(faults|infra/http|stack)/test_", name)]
    # A test that another one imports can't go alone.
    imported = git(
        root, "grep", "-hoE", r"from tests\.[a-z_.]+\.test_[a-z_]+ import", "--", "tests"
    )
    tests = [name for name in tests if name[:-3].replace("/", ".") + " import" not in imported]
    gone = chance.sample(tests, 6) + chance.sample(pages, 1)
    for name in gone:
        (root / name).unlink()
    save(root)
    return gone


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that the account under which Postgres runs as root can read, unlike pytest's."""
    with TemporaryDirectory(prefix="update-") as name:
        Path(name).chmod(0o755)
        yield Path(name).resolve()


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_update(
    old: int,
    new: int,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The result passes its checks, and what the team deleted stays deleted."""
    chance = random.Random(f"{SEED} {old} {new}")
    sample = chance.choice(["yes", "no"])
    root = clone_at(f"HEAD~{old}", folder / "clone", sample)
    gone = edit(root, chance)
    monkeypatch.setattr(command, "ROOT", root)
    for name, value in {
        "FROM": f"HEAD~{old}",
        "TO": f"HEAD~{new}",
        "SOURCE": str(ROOT),
        "SAMPLE": sample,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MAKEFLAGS", raising=False)
    command.update()
    conflicts = git(root, "diff", "--name-only", "--diff-filter=U").splitlines()
    changed = len(git(root, "diff", "--cached", "--name-only", "HEAD").splitlines())
    print(f"seed {SEED}: HEAD~{old} to HEAD~{new}, sample {sample}: {changed} files", conflicts)
    for name in conflicts:  # as a person would
        wanted = git(root, "ls-files", "--stage", "--", name)
        if any(line.split()[2] == "3" for line in wanted.splitlines()):
            git(root, "checkout", "--theirs", "--", name)
        else:  # the new version has no such file
            git(root, "rm", "--quiet", "--", name)
    save(root)
    assert [name for name in gone if (root / name).exists()] == []
    failed = [check for check in CHECKS if not passes(root, check)]
    assert failed == []


def passes(root: Path, check: list[str]) -> bool:
    program = [str(root / ".venv/bin/python"), "-m", *check]
    if check[0] != "pytest":
        program = [str(root / ".venv/bin" / check[0]), *check[1:]]
    done = subprocess.run(program, check=False, cwd=root, capture_output=True, text=True)
    if done.returncode:
        print(" ".join(check), done.stdout[-3000:], done.stderr[-1000:])
    return not done.returncode
