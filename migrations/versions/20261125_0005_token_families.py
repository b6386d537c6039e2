"""Tokens have the token that made them; browsers have sessions.

The foreign key is NOT VALID, so this does not read the table. 0006 validates it.

Revision ID: 0005
Revises: 0004
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("tokens", sa.Column("created_by", sa.Uuid(), nullable=True))
    op.create_foreign_key(
        op.f("fk_tokens_created_by_tokens"),
        "tokens",
        "tokens",
        ["created_by"],
        ["id"],
        ondelete="CASCADE",
        postgresql_not_valid=True,
    )
    time = postgresql.TIMESTAMP(timezone=True)
    op.create_table(
        "browser_sessions",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("token_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", time, server_default=sa.text("now()"), nullable=False),
        sa.Column("last_seen_at", time, server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", time, nullable=False),
        sa.CheckConstraint(
            "octet_length(hash) = 32", name=op.f("ck_browser_sessions_hash_is_sha256")
        ),
        sa.ForeignKeyConstraint(
            ["token_id"],
            ["tokens.id"],
            name=op.f("fk_browser_sessions_token_id_tokens"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_browser_sessions")),
    )


def downgrade() -> None:
    op.drop_table("browser_sessions")
    op.drop_constraint(op.f("fk_tokens_created_by_tokens"), "tokens")
    op.drop_column("tokens", "created_by")
