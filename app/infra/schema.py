"""Which schema this code needs. Read from the migrations' own files, without Alembic.

Alembic's reader is exact and costs every process 0.1 s of its start and 10 MB; a test holds this
one against it.
"""

import re
from functools import cache
from pathlib import Path

PROJECT = Path(__file__).parent.parent.parent
VERSIONS = PROJECT / "migrations" / "versions"

_REVISION = re.compile(r"^revision\b[^=]*= ['\"]([^'\"]+)['\"]", re.MULTILINE)
_DOWN_REVISION = re.compile(r"^down_revision\b[^=]*= ['\"]([^'\"]+)['\"]", re.MULTILINE)


@cache
def needed_revision(versions: Path = VERSIONS) -> str:
    """The newest migration. Raises `ValueError` unless there is exactly one."""
    sources = [path.read_text() for path in sorted(versions.glob("*.py"))]
    revisions = {found[1] for source in sources if (found := _REVISION.search(source))}
    followed = {found[1] for source in sources if (found := _DOWN_REVISION.search(source))}
    heads = sorted(revisions - followed)
    if len(heads) != 1:
        raise ValueError(f"{versions} has {len(heads)} newest migrations {heads}, not one")
    return heads[0]
