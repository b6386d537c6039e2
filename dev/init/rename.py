"""One name for another, in every file, in every spelling, and in the names of files."""

import re
from pathlib import PurePosixPath

from dev.errors import DevError
from dev.init import locks
from dev.init.names import spelled_like
from dev.init.tree import Tree

PYPROJECT = PurePosixPath("pyproject.toml")
# In the order in which they constrain each other.
LOCKS = tuple(
    PurePosixPath(f"requirements{group}.txt") for group in ("", "-dev", "-stack", "-browser")
)


def rename(tree: Tree, present: str, name: str) -> dict[PurePosixPath, int]:
    """Replace the name everywhere; return how often it stood in each file."""
    feature = PurePosixPath("app/features", present)
    if any(path.is_relative_to(feature) for path in tree.texts):
        raise DevError(
            f"{feature} is called like the project, so a rename can't tell which of the two a\n"
            "word means. Rename the feature first, or the project by hand."
        )
    word = re.compile(re.escape(present), re.IGNORECASE)

    def spelled(found: re.Match[str]) -> str:
        return spelled_like(found[0], name)

    places = {}
    for path, text in tree.texts.items():
        tree.texts[path], count = word.subn(spelled, text)
        if count:
            places[path] = count
    for path in [*tree.texts, *tree.others]:
        target = PurePosixPath(word.sub(spelled, str(path)))
        if target != path:
            tree.moved[path] = target
    return places


def settle_locks(tree: Tree) -> None:
    """Make the lock files those of pyproject.toml as it is now."""
    direct = locks.wanted(tree.texts[PYPROJECT])
    constraints: dict[str, set[str]] = {}
    for path in LOCKS:
        if path not in tree.texts:
            continue
        head, entries = locks.read(tree.texts[path])
        entries = locks.pruned(entries, direct, constraints)
        tree.texts[path] = locks.write(head, entries)
        constraints[f"-c {path}"] = {entry.name for entry in entries}
