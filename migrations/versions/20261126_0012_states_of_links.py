"""Validate the constraints of 0011, under locks that allow writes: the sample.

Revision ID: 0012
Revises: 0011
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.execute("ALTER TABLE imports VALIDATE CONSTRAINT ck_imports_status_is_known")
    op.execute("ALTER TABLE imports VALIDATE CONSTRAINT ck_imports_failure_is_told")


def downgrade() -> None:
    pass
