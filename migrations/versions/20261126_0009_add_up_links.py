"""Add up the clicks that were counted before there were totals: the sample.

A hundred links in each transaction, while clicks are counted. Running it again changes nothing, as
long as no hours were purged. Only versions that need this migration purge them.

Revision ID: 0009
Revises: 0008
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# The rows of the totals are locked first, in the order that the trigger takes: then no count of
# these links is under way, and the statement that adds up sees all that were committed.
ADD_UP = """
    DO $$
    DECLARE
        batch uuid[];
        after uuid := '00000000-0000-0000-0000-000000000000';
    BEGIN
        LOOP
            batch := ARRAY(SELECT id FROM links WHERE id > after ORDER BY id LIMIT 100);
            EXIT WHEN cardinality(batch) = 0;
            INSERT INTO click_totals (link_id, clicks)
                SELECT id, 0 FROM links WHERE id = ANY (batch) ORDER BY id FOR KEY SHARE
                ON CONFLICT (link_id) DO NOTHING;
            PERFORM FROM click_totals WHERE link_id = ANY (batch) ORDER BY link_id FOR UPDATE;
            UPDATE click_totals SET clicks = (
                    SELECT coalesce(sum(click_counts.clicks), 0) FROM click_counts
                    WHERE click_counts.link_id = click_totals.link_id
                )
                WHERE link_id = ANY (batch);
            after := batch[cardinality(batch)];
            COMMIT;
        END LOOP;
    END $$
"""


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute(ADD_UP)


def downgrade() -> None:
    pass
