"""Links remember the request that made them: the sample.

Revision ID: 0003
Revises: 0002
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INDEX = "ix_links_created_by_idempotency_key"


def upgrade() -> None:
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
        op.f(INDEX),
        "links",
        ["created_by", "idempotency_key"],
        unique=True,
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index(op.f(INDEX), table_name="links")
    op.drop_constraint(op.f("ck_links_key_has_digest"), "links")
    op.drop_constraint(op.f("ck_links_idempotency_key_length"), "links")
    op.drop_column("links", "request_digest")
    op.drop_column("links", "idempotency_key")
