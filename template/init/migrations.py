"""The chain of migrations, after some of them were taken out."""

import re
from collections.abc import MutableMapping
from pathlib import PurePosixPath

FOLDER = PurePosixPath("migrations/versions")
REVISION = re.compile(r'^revision: str = "(\w+)"$', re.MULTILINE)
DOWN = re.compile(r'^(down_revision: str \| None = )(?:None|"\w+")$', re.MULTILINE)
REVISES = re.compile(r"^Revises:.*$", re.MULTILINE)


def close_gaps(texts: MutableMapping[PurePosixPath, str]) -> None:
    """Let each migration follow the one that is before it now. The files' names give the order."""
    before = ""
    for path in sorted(path for path in texts if path.parent == FOLDER):
        text = DOWN.sub(rf'\g<1>"{before}"' if before else r"\g<1>None", texts[path])
        texts[path] = REVISES.sub(f"Revises: {before}".rstrip(), text)
        before = REVISION.findall(text)[0]
