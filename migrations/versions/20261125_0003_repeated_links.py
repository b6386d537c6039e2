"""Links store the idempotency key and the digest of the request that made them: the sample.

The constraints are NOT VALID, so this does not read the table. 0004 validates them, under locks
that allow writes.

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


def upgrade() -> None:
    op.add_column("links", sa.Column("idempotency_key", sa.Text(), nullable=True))
    op.add_column("links", sa.Column("request_digest", sa.LargeBinary(), nullable=True))
    op.create_check_constraint(
        op.f("ck_links_idempotency_key_length"),
        "links",
        "char_length(idempotency_key) <= 255",
        postgresql_not_valid=True,
    )
    op.create_check_constraint(
        op.f("ck_links_key_has_digest"),
        "links",
        "(idempotency_key IS NULL) = (request_digest IS NULL)",
        postgresql_not_valid=True,
    )


def downgrade() -> None:
    op.drop_constraint(op.f("ck_links_key_has_digest"), "links")
    op.drop_constraint(op.f("ck_links_idempotency_key_length"), "links")
    op.drop_column("links", "request_digest")
    op.drop_column("links", "idempotency_key")
