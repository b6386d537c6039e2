"""The total of a link's clicks, which a trigger keeps in step with its hours: the sample.

A trigger, because the version before also counts clicks, during a deploy and after a rollback. It
ignores DELETE: purged hours stay in the total. 0009 adds the clicks that are counted already.

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
    op.create_table(
        "click_totals",
        sa.Column("link_id", sa.Uuid(), nullable=False),
        sa.Column("clicks", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["link_id"],
            ["links.id"],
            name=op.f("fk_click_totals_link_id_links"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("link_id", name=op.f("pk_click_totals")),
    )
    op.execute("""
        CREATE FUNCTION add_to_click_total() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO click_totals AS kept (link_id, clicks)
            VALUES (NEW.link_id, NEW.clicks - coalesce(OLD.clicks, 0))
            ON CONFLICT (link_id) DO UPDATE SET clicks = kept.clicks + excluded.clicks;
            RETURN NULL;
        END $$
    """)
    op.execute("""
        CREATE TRIGGER add_to_click_total AFTER INSERT OR UPDATE OF clicks ON click_counts
        FOR EACH ROW EXECUTE FUNCTION add_to_click_total()
    """)


def downgrade() -> None:
    op.execute("DROP TRIGGER add_to_click_total ON click_counts")
    op.execute("DROP FUNCTION add_to_click_total()")
    op.drop_table("click_totals")
