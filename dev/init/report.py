"""What `make init` did, and what comes next, in words."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from dev.init.tree import Tree


@dataclass
class Outcome:
    """What was done, counted."""

    present: str  # the name before
    name: str
    renamed: Mapping[PurePosixPath, int] = field(default_factory=dict)
    stripped: Mapping[PurePosixPath, int] = field(default_factory=dict)
    unformatted: bool = False


def tell(root: Path, tree: Tree, outcome: Outcome) -> None:
    """Print it."""
    if outcome.renamed:
        places = sum(outcome.renamed.values())
        print(
            f"{outcome.present} is {outcome.name} now: "
            f"{places} places in {len(outcome.renamed)} files"
        )
        print_by_folder(outcome.renamed)
    for path, target in tree.moved.items():
        print(f"  {path} is {target} now")
    if outcome.stripped:
        lines = sum(outcome.stripped.values())
        print(
            f"The sample is gone: {len(tree.removed)} files, "
            f"and {lines} lines of {len(outcome.stripped)} others"
        )
        print_by_folder(dict.fromkeys(tree.removed, 1), unit="files")
        print_by_folder(outcome.stripped, unit="lines")
    print("\n".join(next_steps(root, outcome)))


def print_by_folder(counts: Mapping[PurePosixPath, int], unit: str = "") -> None:
    """Print a number for each file at the top, and one for each folder."""
    sums: dict[str, int] = {}
    for path, count in counts.items():
        top = path.parts[0] + ("/" if len(path.parts) > 1 else "")
        sums[top] = sums.get(top, 0) + count
    for top, count in sorted(sums.items()):
        print(f"  {count:>5} {unit:5} {top}".rstrip())


def next_steps(root: Path, outcome: Outcome) -> list[str]:
    """Return what is left to a person."""
    old = outcome.present
    steps = [
        "",
        "All of it is staged, and nothing is committed:",
        "  git diff --cached    look at it",
        "  git reset --hard     undo it",
        f"  git commit --message 'Call it {outcome.name}'",
        "",
        "Next:",
    ]
    if outcome.unformatted:
        steps.append("  make format          still to be done: the packages could not be installed")
    if (root / ".local" / "postgres").exists() and outcome.renamed:
        steps.append(f"  make clean-data      the development data in .local/ is called {old}")
    if outcome.renamed:
        steps.append(f"  docker compose --project-name {old} down --volumes")
        steps.append("                       if the stack ran under the old name: removes its data")
        steps.append("  LICENSE, README.md, the description in pyproject.toml: say whose it is")
    return [*steps, "  make lint test", "  make dev"]
