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
def known_revisions(versions: Path = VERSIONS) -> frozenset[str]:
    """Every migration that this code has. One that it lacks was made by a newer version."""
    return _named_by(_REVISION, versions)


@cache
def needed_revision(versions: Path = VERSIONS) -> str:
    """The newest migration. Raises `ValueError` unless there is exactly one."""
    heads = sorted(known_revisions(versions) - _named_by(_DOWN_REVISION, versions))
    if len(heads) != 1:
        raise ValueError(f"{versions} has {len(heads)} newest migrations {heads}, not one")
    return heads[0]


def _named_by(pattern: re.Pattern[str], versions: Path) -> frozenset[str]:
    sources = (path.read_text() for path in versions.glob("*.py"))
    return frozenset(found[1] for source in sources if (found := pattern.search(source)))
