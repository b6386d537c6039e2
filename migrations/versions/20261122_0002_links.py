"""Links, their clicks and their imports: the sample.

Revision ID: 0002
Revises: 0001
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.execute(sa.schema.CreateSequence(sa.Sequence("link_cache_versions")))
    op.create_table(
        "click_positions",
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("position", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("stream", name=op.f("pk_click_positions")),
    )
    op.execute("INSERT INTO click_positions VALUES ('drydock:clicks', '0-0')")
    op.create_table(
        "imports",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("status", sa.Text(), server_default="queued", nullable=False),
        sa.Column("source", sa.LargeBinary(), nullable=True),
        sa.Column("total", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("done", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("failed", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_row", sa.Integer(), server_default=sa.text("2"), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.Column(
            "created_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "(status = 'finished') = (source IS NULL)",
            name=op.f("ck_imports_source_until_finished"),
        ),
        sa.CheckConstraint(
            "status IN ('queued', 'running', 'finished')", name=op.f("ck_imports_status_known")
        ),
        sa.CheckConstraint("done + failed <= total", name=op.f("ck_imports_rows_add_up")),
        sa.ForeignKeyConstraint(
            ["created_by"],
            ["tokens.id"],
            name=op.f("fk_imports_created_by_tokens"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_imports")),
    )
    op.create_index(op.f("ix_imports_created_at"), "imports", ["created_at"])
    op.create_index(
        op.f("ix_imports_updated_at"),
        "imports",
        ["updated_at"],
        postgresql_where=sa.text("status <> 'finished'"),
    )
    op.create_table(
        "links",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=True),
        sa.Column(
            "created_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("expires_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.CheckConstraint(
            "slug ~ '^[A-Za-z0-9][A-Za-z0-9_-]{1,63}$'", name=op.f("ck_links_slug_format")
        ),
        sa.CheckConstraint(
            "url ~* '^https?://[!-~]+$' AND length(url) <= 2048", name=op.f("ck_links_url_format")
        ),
        sa.CheckConstraint("char_length(title) <= 200", name=op.f("ck_links_title_length")),
        sa.ForeignKeyConstraint(
            ["created_by"],
            ["tokens.id"],
            name=op.f("fk_links_created_by_tokens"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_links")),
        sa.UniqueConstraint("slug", name=op.f("uq_links_slug")),
    )
    op.create_index(op.f("ix_links_created_by"), "links", ["created_by"])
    op.create_index(
        op.f("ix_links_expires_at"),
        "links",
        ["expires_at"],
        postgresql_where=sa.text("expires_at IS NOT NULL"),
    )
    op.create_table(
        "click_counts",
        sa.Column("link_id", sa.Uuid(), nullable=False),
        sa.Column("hour", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("clicks", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "hour = date_trunc('hour', hour, 'UTC')", name=op.f("ck_click_counts_hour_is_whole")
        ),
        sa.CheckConstraint("clicks > 0", name=op.f("ck_click_counts_clicks_positive")),
        sa.ForeignKeyConstraint(
            ["link_id"],
            ["links.id"],
            name=op.f("fk_click_counts_link_id_links"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("link_id", "hour", name=op.f("pk_click_counts")),
    )
    op.create_table(
        "import_errors",
        sa.Column("import_id", sa.Uuid(), nullable=False),
        sa.Column("row", sa.Integer(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["import_id"],
            ["imports.id"],
            name=op.f("fk_import_errors_import_id_imports"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("import_id", "row", name=op.f("pk_import_errors")),
    )
    op.create_table(
        "unsettled_clicks",
        sa.Column("batch", sa.Text(), nullable=False),
        sa.Column("link_id", sa.Uuid(), nullable=False),
        sa.Column("clicks", sa.BigInteger(), nullable=False),
        sa.Column(
            "created_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["link_id"],
            ["links.id"],
            name=op.f("fk_unsettled_clicks_link_id_links"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("batch", "link_id", name=op.f("pk_unsettled_clicks")),
    )


def downgrade() -> None:
    op.drop_table("unsettled_clicks")
    op.drop_table("import_errors")
    op.drop_table("click_counts")
    op.drop_index(
        op.f("ix_links_expires_at"),
        table_name="links",
        postgresql_where=sa.text("expires_at IS NOT NULL"),
    )
    op.drop_index(op.f("ix_links_created_by"), table_name="links")
    op.drop_table("links")
    op.drop_index(
        op.f("ix_imports_updated_at"),
        table_name="imports",
        postgresql_where=sa.text("status <> 'finished'"),
    )
    op.drop_index(op.f("ix_imports_created_at"), table_name="imports")
    op.drop_table("imports")
    op.drop_table("click_positions")
    op.execute(sa.schema.DropSequence(sa.Sequence("link_cache_versions")))
