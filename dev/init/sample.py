"""The sample feature, and everything that only it needs. Removing it removes this module too.

What is in files of its own is listed here; single lines elsewhere are marked where they stand
(see marks.py). Nothing is guessed: .ci/check-init removes the sample, and looks for what is left.
"""

import re
from pathlib import PurePosixPath

from dev.init.marks import without
from dev.init.tree import Tree

WORD = "sample"

# Files and folders, as PurePath.match reads them.
ONLY_ITS_OWN = (
    "app/features/links",
    "tests/features/links",
    "migrations/versions/*_links.py",
    # Requests that wait together share a round trip: made for redirects.
    "app/infra/batching.py",
    "tests/infra/test_batching.py",
    # Measures redirects.
    "bench",
    "deploy/proxy/features/links.caddy",
    "dev/init/sample.py",
    "tests/dev/init/test_sample.py",
)

# What the service is, in half a sentence; the longer forms first.
PITCHES = {
    "Short links for a team: the reference FastAPI service, from a laptop to production.": (
        "A service on FastAPI, Postgres and Redis."
    ),
    "short links for a team, and everything a service needs around them": (
        "a service on FastAPI, Postgres and Redis"
    ),
    "Short links for a team": "A service on FastAPI, Postgres and Redis",
}


def remove_sample(tree: Tree) -> dict[PurePosixPath, int]:
    """Take the sample out; return how many lines that is in each file that stays."""
    for path in owned(tree):
        tree.remove(path)
    lines = {}
    for path, text in tree.texts.items():
        kept, count = without(text, WORD)
        for pitch, plain in PITCHES.items():
            kept, replaced = re.subn(re.escape(pitch), plain, kept)
            count += replaced
        tree.texts[path] = kept
        if count:
            lines[path] = count
    return lines


def owned(tree: Tree) -> set[PurePosixPath]:
    """Return the paths that the list means: each as a whole, file or folder."""
    return {
        candidate
        for path in [*tree.texts, *tree.others]
        for candidate in (path, *path.parents)
        for pattern in ONLY_ITS_OWN
        if candidate.match(pattern) and len(candidate.parts) == pattern.count("/") + 1
    }
