"""What a rename and a removed dependency change in requirements*.txt.

uv would write the same (`make lock`; a check compares), but needs to be installed and to
reach a package index. Versions and hashes are left as they are.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

ENTRY = re.compile(r"^(?=[A-Za-z0-9])", re.MULTILINE)
VIA = "    # via"
# A name as it stands in a requirement, before any extra, version or condition.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Entry(NamedTuple):
    """One pinned package: its lines up to the hashes, and why it is there."""

    name: str
    pin: str
    via: list[str]


def read(text: str) -> tuple[str, list[Entry]]:
    """Return the head of a lock file and its entries."""
    head, *blocks = ENTRY.split(text)
    entries = []
    for block in blocks:
        pin, _, reasons = block.partition(VIA)
        via = [line.lstrip(" #") for line in reasons.splitlines() if line.strip(" #")]
        entries.append(Entry(normal(block), pin, via))
    return head, entries


def write(head: str, entries: Iterable[Entry]) -> str:
    """Return the text of a lock file."""
    parts = [head]
    for entry in entries:
        one, *more = entry.via
        lines = [f"\n    #   {reason}" for reason in entry.via] if more else [f" {one}"]
        parts += [entry.pin, VIA, *lines, "\n"]
    return "".join(parts)


def normal(requirement: str) -> str:
    """Return the package's name in the spelling of lock files."""
    found = NAME.match(requirement)
    return re.sub(r"[-_.]+", "-", found[0] if found else "").lower()


def requested(pyproject: str) -> Mapping[str, list[str]]:
    """Return the requirements as they are written, by their group; those of production by ""."""
    described = tomllib.loads(pyproject)
    return {"": described["project"]["dependencies"], **described["dependency-groups"]}


def wanted(pyproject: str) -> Mapping[str, set[str]]:
    """Return what is asked for, by the words that a lock file has for who asks."""
    project = tomllib.loads(pyproject)["project"]["name"]
    return {
        f"{project} (pyproject.toml{group and ':'}{group})": {normal(line) for line in listed}
        for group, listed in requested(pyproject).items()
    }


def pruned(
    entries: list[Entry], direct: Mapping[str, set[str]], constraints: Mapping[str, set[str]]
) -> list[Entry]:
    """Return what is still needed, by the project itself or by something that is needed.

    Constraints are the packages of other lock files, by the words that a lock file has for them:
    they say which version, and are no reason to need it.
    """
    present = {entry.name for entry in entries}

    def holds(entry: Entry, reason: str) -> bool:
        if reason in constraints:
            return entry.name in constraints[reason]
        if reason in direct:
            return entry.name in direct[reason]
        return normal(reason) in present

    kept = []
    for entry in entries:
        via = [reason for reason in entry.via if holds(entry, reason)]
        if set(via) - set(constraints):
            kept.append(entry._replace(via=via))
    # What is gone was perhaps the reason for something else.
    return kept if len(kept) == len(entries) else pruned(kept, direct, constraints)


def read_text(path: Path) -> str | None:
    """Return what a file holds; None if there is none, or no text in it."""
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        return None
