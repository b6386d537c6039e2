"""Links store no idempotency keys any more, since every request may have one: the sample.

This drops columns that 0003 has added. No release has used them, so no old version needs them.

Revision ID: 0008
Revises: 0007
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    # Their index and their constraints go with them.
    op.drop_column("links", "request_digest")
    op.drop_column("links", "idempotency_key")


def downgrade() -> None:
    op.add_column("links", sa.Column("idempotency_key", sa.Text(), nullable=True))
    op.add_column("links", sa.Column("request_digest", sa.LargeBinary(), nullable=True))
    op.create_check_constraint(
        op.f("ck_links_idempotency_key_length"), "links", "char_length(idempotency_key) <= 255"
    )
    op.create_check_constraint(
        op.f("ck_links_key_has_digest"),
        "links",
        "(idempotency_key IS NULL) = (request_digest IS NULL)",
    )
    op.create_index(
        "ix_links_created_by_idempotency_key",
        "links",
        ["created_by", "idempotency_key"],
        unique=True,
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
