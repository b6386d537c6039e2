"""An index for the purge of old hours, built without blocking writes: the sample.

Revision ID: 0010
Revises: 0009
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INDEX = "ix_click_counts_hour"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.create_index(
            INDEX, "click_counts", ["hour"], postgresql_concurrently=True, if_not_exists=True
        )


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.drop_index(
            INDEX, table_name="click_counts", if_exists=True, postgresql_concurrently=True
        )
