"""Find the children of a token by an index, which is built without blocking writes.

Revision ID: 0006
Revises: 0005
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INDEX = "ix_tokens_created_by"


def upgrade() -> None:
    op.execute("ALTER TABLE tokens VALIDATE CONSTRAINT fk_tokens_created_by_tokens")
    with op.get_context().autocommit_block():
        op.create_index(
            INDEX, "tokens", ["created_by"], postgresql_concurrently=True, if_not_exists=True
        )


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.drop_index(INDEX, table_name="tokens", if_exists=True, postgresql_concurrently=True)
