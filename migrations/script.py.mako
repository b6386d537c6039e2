"""${message}

Revision ID: ${up_revision}
Revises: ${down_revision | comma,n}

The old version still runs during this migration. Before you merge, check:
- Add first, remove later: drop a column one release after the code stopped using it.
- A new NOT NULL column needs a server_default.
- A new constraint needs NOT VALID, and VALIDATE in a later migration.
- An index on a table in use needs postgresql_concurrently=True and if_not_exists=True inside
  `with op.get_context().autocommit_block():`, alone in its migration. It waits for all older
  transactions, such as a backup. If it was interrupted, run the migration again.
- Move data in batches, in a job. A migration holds its locks until it ends.
Then replace this list with a sentence that says what changes and why.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision: str = ${repr(up_revision)}
down_revision: str | None = ${repr(down_revision)}
branch_labels: str | Sequence[str] | None = ${repr(branch_labels)}
depends_on: str | Sequence[str] | None = ${repr(depends_on)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
