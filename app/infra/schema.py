"""Which schema this code needs: the newest of its migrations.

The name of a migration's file is `<date>_<revision>_<words>.py`, so sorting the names gives the
revisions in order (`file_template` in pyproject.toml). Alembic could tell as well, but importing it
takes 8 MB in each process. A test compares the two.
"""

from pathlib import Path

PROJECT = Path(__file__).parent.parent.parent
VERSIONS = PROJECT / "migrations" / "versions"


def list_revisions() -> list[str]:
    """The revisions of all migrations, the newest last."""
    return [name.split("_")[1] for name in sorted(path.name for path in VERSIONS.glob("*.py"))]
