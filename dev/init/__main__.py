"""`make init NAME=orders [SAMPLE=no]`: check, change, format, stage, tell."""

import importlib
import importlib.util
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from dev.errors import DevError
from dev.init.marks import without
from dev.init.names import check_name, check_unused
from dev.init.rename import PYPROJECT, rename, settle_locks
from dev.init.report import Outcome, tell
from dev.init.tree import Tree, git, refuse_unsaved_work

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = "dev.init.sample"
USAGE = """\
Say how the service is to be called: make init NAME=orders
SAMPLE=no leaves the sample feature out, and everything that only it needs."""


def main(words: Sequence[str]) -> int:
    """Take the name and yes or no for the sample; return the exit code."""
    name, sample = (*words, "", "")[:2]
    try:
        return init(ROOT, name, sample)
    except DevError as error:
        print(error, file=sys.stderr)
        return 1


def init(root: Path, name: str, sample: str) -> int:
    """Change the repository, unless it is as it should be."""
    if sample not in {"", "yes", "no"} or not (name or sample == "no"):
        print(USAGE, file=sys.stderr)
        return 2
    tree = Tree.read(root)
    project = tomllib.loads(tree.texts[PYPROJECT])["project"]
    present = project["name"]
    outcome = Outcome(present, name or present)
    strips = sample == "no" and has_sample()
    if outcome.name == present and not strips:
        print(f"This is {present} already{', without the sample' if sample == 'no' else ''}.")
        print("Nothing was changed.")
        return 0
    if outcome.name != present:
        check_name(name, project["dependencies"])
    refuse_unsaved_work(root)
    change(tree, outcome, strips=strips)
    tree.apply()
    outcome.unformatted = not reformat(root)
    git(root, "add", "--all", ".")
    tell(root, tree, outcome)
    return 0


def has_sample() -> bool:
    """Whether the module that removes it is still there."""
    return importlib.util.find_spec(SAMPLE) is not None


def change(tree: Tree, outcome: Outcome, *, strips: bool) -> None:
    """Do all of it in memory: what fails, fails before a file is touched."""
    if strips:
        # By its name: it removes itself.
        outcome.stripped = importlib.import_module(SAMPLE).remove_sample(tree)
    if outcome.name != outcome.present:
        for path, text in tree.texts.items():
            tree.texts[path], _ = without(text, "template")
        check_unused(outcome.name, tree.texts)
        outcome.renamed = rename(tree, outcome.present, outcome.name)
    settle_locks(tree)


def reformat(root: Path) -> bool:
    """Let ruff wrap what got longer or shorter; return whether it is there to do so.

    It comes with .venv, which a fresh clone has not made yet.
    """
    made = subprocess.run([sys.executable, root / "dev" / "bootstrap.py"], check=False, cwd=root)
    ruff = root / ".venv" / "bin" / "ruff"
    if made.returncode or not ruff.exists():
        return False
    return subprocess.run([ruff, "format", "--quiet"], check=False, cwd=root).returncode == 0
