"""The file of an import in pieces, its attempts, and the state failed: the sample.

The new constraints are NOT VALID, so this does not read the table. 0012 validates them. The column
`source` stays for the version before, which may still run. It leaves imports with pieces alone.

Revision ID: 0011
Revises: 0010
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "import_pieces",
        sa.Column("import_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["import_id"],
            ["imports.id"],
            name=op.f("fk_import_pieces_import_id_imports"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("import_id", "number", name=op.f("pk_import_pieces")),
    )
    op.add_column(
        "imports",
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
    )
    op.add_column("imports", sa.Column("failure", sa.Text(), nullable=True))
    op.drop_constraint(op.f("ck_imports_source_until_finished"), "imports")
    op.drop_constraint(op.f("ck_imports_status_known"), "imports")
    op.create_check_constraint(
        op.f("ck_imports_status_is_known"),
        "imports",
        "status IN ('uploading', 'queued', 'running', 'finished', 'failed')",
        postgresql_not_valid=True,
    )
    op.create_check_constraint(
        op.f("ck_imports_failure_is_told"),
        "imports",
        "(status = 'failed') = (failure IS NOT NULL)",
        postgresql_not_valid=True,
    )


def downgrade() -> None:
    # The version before knows neither the pieces nor the new states.
    op.execute("""
        UPDATE imports SET source = (
            SELECT string_agg(content, '' ORDER BY number) FROM import_pieces WHERE import_id = id
        ) WHERE status IN ('queued', 'running', 'failed') AND source IS NULL
    """)
    op.execute("UPDATE imports SET status = 'queued', failure = NULL WHERE status = 'failed'")
    op.execute(
        "DELETE FROM imports WHERE status = 'uploading' OR source IS NULL AND status <> 'finished'"
    )
    op.drop_constraint(op.f("ck_imports_failure_is_told"), "imports")
    op.drop_constraint(op.f("ck_imports_status_is_known"), "imports")
    op.create_check_constraint(
        op.f("ck_imports_status_known"), "imports", "status IN ('queued', 'running', 'finished')"
    )
    op.create_check_constraint(
        op.f("ck_imports_source_until_finished"),
        "imports",
        "(status = 'finished') = (source IS NULL)",
    )
    op.drop_column("imports", "failure")
    op.drop_column("imports", "attempts")
    op.drop_table("import_pieces")
