"""The command: check, change, format, remove template/, stage, and print what was done."""

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from dev.errors import DevError
from dev.stack import claimed_by, compose_containers
from template import ROOT
from template.init.marks import without
from template.init.migrations import close_gaps
from template.init.names import check_name, spelled_like
from template.init.tree import Refused, Tree, git

USAGE = """\
Give the service a name: make init NAME=orders
SAMPLE=no also removes the sample feature."""

PYPROJECT = PurePosixPath("pyproject.toml")
ROOM = PurePosixPath("template")
# Each file in this folder replaces the file of the same path at the root.
CLONE = ROOM / "clone"
# Contains the arguments of this run, so that an init that was killed can be run again.
UNDER_WAY = ROOM / ".init"
NOTE = ".template.toml"

# Files and folders of the sample. Its lines in other files are marked: see marks.py.
SAMPLE = (
    "app/features/links",
    "tests/features/links",
    "migrations/versions/*_links.py",
    "docs/links.md",
    "bench/scenarios/links.py",
)


def main(words: Sequence[str]) -> int:
    """Take the name, and yes or no for the sample; return the exit code."""
    name, sample = (*words, "", "")[:2]
    if not name or sample not in {"", "yes", "no"}:
        print(USAGE, file=sys.stderr)
        return 2
    try:
        init(ROOT, name, keeps_sample=sample != "no")
    except Refused as refused:
        print(refused, file=sys.stderr)
        return 1
    return 0


def init(root: Path, name: str, *, keeps_sample: bool) -> None:
    """Change the repository, and print what was done."""
    tree = Tree.read(root)
    project = tomllib.loads(tree.texts[PYPROJECT])["project"]
    check_name(name, project["dependencies"])
    old = begin(root, project["name"], name, "yes" if keeps_sample else "no")
    told = change(tree, old, name, keeps_sample=keeps_sample)
    tree.apply()
    reformat(root)
    record(root, name, "yes" if keeps_sample else "no")
    # Last, because until here a run that was killed can be repeated.
    shutil.rmtree(root / ROOM)
    git(root, "add", "--all", ".")
    print("\n".join([*told, *next_steps(root, old, name)]))


def begin(root: Path, present: str, name: str, sample: str) -> str:
    """Return the name to replace. Refuse to start if git could not undo the changes."""
    note = root / UNDER_WAY
    if note.exists():  # the first run has looked for unsaved work
        old, *rest = note.read_text().split()
        if rest != [name, sample]:
            raise Refused(
                f"`make init NAME={rest[0]} SAMPLE={rest[1]}` was interrupted. Run it again, or\n"
                f"undo it: git reset --hard && rm {UNDER_WAY}"
            )
        return old
    if unsaved := git(root, "status", "--porcelain").splitlines():
        shown = "\n".join(f"  {line}" for line in unsaved[:5])
        raise Refused(
            "There are changes that are not committed. If you undo init, git would undo them too:\n"
            f"{shown}\nCommit or stash them first: git stash --include-untracked"
        )
    note.write_text(f"{present} {name} {sample}\n")
    return present


def change(tree: Tree, old: str, name: str, *, keeps_sample: bool) -> list[str]:
    """Change the tree in memory; return what was done, one sentence for each step."""
    told = []
    if not keeps_sample:
        tree.texts = {path: text for path, text in tree.texts.items() if not is_sample(path)}
        gone = len(tree.removed)
        close_gaps(tree.texts)
        places = take_out(tree, "sample")
        told.append(f"The sample is gone: {gone} files, and {places} places in others.")
    room = [path for path in tree.texts if path.is_relative_to(ROOM)]
    places = take_out(tree, "template")
    told.append(f"{ROOM}/ is gone: {len(room)} files, and {places} places in others.")
    for path in room:
        text = tree.texts.pop(path)
        del tree.before[path]  # `apply` must not write there; the folder is deleted last
        if path.is_relative_to(CLONE):
            tree.texts[path.relative_to(CLONE)] = text
            told.append(f"{path.relative_to(CLONE)} is now the file of a clone: {path}.")
    return [f"{old} is {name} now, in {rename(tree, old, name)} files.", *told]


def is_sample(path: PurePosixPath) -> bool:
    """Whether SAMPLE names the file or a folder above it."""
    return any(
        whole.match(pattern) and len(whole.parts) == len(PurePosixPath(pattern).parts)
        for whole in (path, *path.parents)
        for pattern in SAMPLE
    )


def take_out(tree: Tree, word: str) -> int:
    """Remove what is marked with the word; return how many places outside template/ that is."""
    total = 0
    for path, text in list(tree.texts.items()):
        inside = path.is_relative_to(ROOM)
        if inside and not path.is_relative_to(CLONE):
            continue
        tree.texts[path], places = without(text, word)
        total += 0 if inside else places
        if places and not tree.texts[path].strip():
            del tree.texts[path]
    return total


def rename(tree: Tree, old: str, name: str) -> int:
    """Replace the name in every letter case; return the number of changed files."""
    word = re.compile(re.escape(old), re.IGNORECASE)
    renamed = 0
    for path, text in tree.texts.items():
        tree.texts[path], count = word.subn(lambda found: spelled_like(found[0], name), text)
        renamed += bool(count)
    return renamed


def record(root: Path, name: str, sample: str) -> None:
    """Write down where the clone came from: make update reads it.

    A history of one commit was made by "Use this template" or from an archive. Its remote is then
    not the source, so the source stays empty.
    """
    tree = git(root, "rev-parse", "HEAD^{tree}").strip()
    is_whole = git(root, "rev-parse", "--is-shallow-repository").strip() == "false"
    is_copy = is_whole and git(root, "rev-list", "--count", "HEAD").strip() == "1"
    source = git(root, "config", "--default", "", "remote.origin.url").strip()
    source = re.sub(r"//[^/@]*@", "//", source) if not is_copy else ""
    (root / NOTE).write_text(
        "# Where this came from: make update reads it.\n"
        f'tree = "{tree}"\nsource = "{source}"\nname = "{name}"\nsample = "{sample}"\n',
        encoding="utf-8",
    )


def reformat(root: Path) -> None:
    """Format the code, because the length of lines has changed."""
    ruff = [str(root / ".venv" / "bin" / "ruff"), "format", "--quiet", "--exclude", str(ROOM)]
    subprocess.run(ruff, check=True, cwd=root)


def next_steps(root: Path, old: str, name: str) -> list[str]:
    """Return what the user has to do now."""
    steps = [
        "",
        "All changes are staged, and nothing is committed. Next:",
        "  git diff --cached --stat    look at it",
        "  git reset --hard            undo it",
        f"  git commit --message 'Call it {name}'",
        "",
        "Next:",
    ]
    if (root / ".local" / "postgres").exists() and old != name:
        steps.append(
            f"  make clean-data      removes the development data in .local/, which is called {old}"
        )
    if has_stack(root, f"{old}-dev"):
        steps += [
            f"  docker compose --project-name {old}-dev down --volumes",
            "                       removes the development stack of the old name, with its data",
        ]
    return [
        *steps,
        "  Write your own LICENSE, README.md and description in pyproject.toml.",
        "  make lint test",
        "  make dev",
    ]


def has_stack(root: Path, name: str) -> bool:
    """Whether a compose stack of this name is the clone's. Another clone may have the old name."""
    try:
        folders = [found.folder for found in compose_containers() if found.project == name]
        return root in {folder.resolve() for folder in (*folders, claimed_by(name) or Path("/"))}
    except DevError:  # there is no Engine
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
