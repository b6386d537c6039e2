"""One link for each token and idempotency key, without blocking writes: the sample.

Revision ID: 0004
Revises: 0003
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INDEX = "ix_links_created_by_idempotency_key"


def upgrade() -> None:
    op.execute("ALTER TABLE links VALIDATE CONSTRAINT ck_links_idempotency_key_length")
    op.execute("ALTER TABLE links VALIDATE CONSTRAINT ck_links_key_has_digest")
    with op.get_context().autocommit_block():
        # An interrupted attempt leaves an invalid index.
        op.drop_index(INDEX, table_name="links", if_exists=True, postgresql_concurrently=True)
        op.create_index(
            INDEX,
            "links",
            ["created_by", "idempotency_key"],
            unique=True,
            postgresql_where=sa.text("idempotency_key IS NOT NULL"),
            postgresql_concurrently=True,
        )


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.drop_index(INDEX, table_name="links", if_exists=True, postgresql_concurrently=True)
