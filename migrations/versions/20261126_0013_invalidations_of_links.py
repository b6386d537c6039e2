"""Changed links whose cache entry has to be deleted (a transactional outbox): the sample.

The sequence link_cache_versions is unused from here on. The version before still needs it, so a
later migration may drop it.

Revision ID: 0013
Revises: 0012
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "link_invalidations",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_link_invalidations")),
    )


def downgrade() -> None:
    op.drop_table("link_invalidations")
