"""`make template-lines`: counts lines and files by room, here and in the clones that init makes.

A path belongs to the first room that matches it. Locks and pages of documentation are counted
separately. The last row is the goal.
"""

import re
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

from template import ROOT

# The first match counts. All other files are machinery: Makefile, settings of tools and editors.
ROOMS = {
    "locks": r".*requirements[^/]*\.txt",
    "template": r"template/.*",
    "docs": r"docs/.*|.*\.md|LICENSE",
    "tests of service and deployment": r"tests/(?!dev/|pipeline/).*",
    "tests of machinery": r"tests/.*",
    "service": r"(app|migrations)/.*|gunicorn\.conf\.py|\.env\.example",
    "deployment": r"deploy/.*|Dockerfile|compose\.yaml|\.dockerignore|\.github/workflows/.*",
}
REST = "machinery"
APART = ("template", "docs", "locks")
SHOWN = (
    *("service", "deployment", "tests of service and deployment", REST, "tests of machinery"),
    *APART,
)


def room_of(name: str) -> str:
    """Return the room that a path belongs to."""
    return next((room for room, paths in ROOMS.items() if re.fullmatch(paths, name)), REST)


def count(root: Path) -> dict[str, tuple[int, int]]:
    """Return lines and files of each room, of the text files that git tracks."""
    # One row a file: lines added, lines removed, name. A binary file has no numbers.
    empty = subprocess.check_output(["git", "hash-object", "-t", "tree", "/dev/null"], text=True)
    diff = ["git", "-C", str(root), "diff", "--cached", "--numstat", "-z", empty.strip()]
    lines: Counter[str] = Counter()
    files: Counter[str] = Counter()
    for row in filter(None, subprocess.check_output(diff, text=True).split("\0")):
        added, _, name = row.split("\t")
        lines[room_of(name)] += 0 if added == "-" else int(added)
        files[room_of(name)] += 1
    return {room: (lines[room], files[room]) for room in SHOWN}


def clone(folder: Path, *words: str) -> Path:
    """Return a clone of the last commit in which `make init` ran with these words, if any."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    if words:
        (folder / ".venv").symlink_to(ROOT / ".venv")
        (folder / ".git/info/exclude").write_text(".venv\n")
        made = ["make", "--silent", "-C", str(folder), "init", *words]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL)
    return folder


def table(counted: dict[str, dict[str, tuple[int, int]]]) -> list[str]:
    """Return the rows: lines and files for each room and each repository."""
    rows = ["| lines (files) | " + " | ".join(counted) + " |", "|---|" + "--:|" * len(counted)]
    for room in SHOWN:
        cells = (f"{lines:,} ({files})" for lines, files in (c[room] for c in counted.values()))
        rows.append(f"| {room} | {' | '.join(cells)} |")
    sums, shares = [], []
    for rooms in counted.values():
        owned = {room: lines for room, (lines, _) in rooms.items() if room not in APART}
        total = sum(owned.values())
        around = owned[REST] + owned["tests of machinery"]
        sums.append(f"**{total:,}**")
        shares.append(f"{1 - around / total:.0%}")
    rows.append(f"| **all but template, docs, locks** | {' | '.join(sums)} |")
    rows.append(f"| service, deployment and their tests | {' | '.join(shares)} |")
    return rows


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        counted = {
            "template": count(clone(Path(folder, "template"))),
            "clone": count(clone(Path(folder, "sample"), "NAME=orders")),
            "clone without sample": count(clone(Path(folder, "plain"), "NAME=orders", "SAMPLE=no")),
        }
    print("\n".join(table(counted)))


if __name__ == "__main__":
    main()
