"""${message}

Revision ID: ${up_revision}
Revises: ${down_revision | comma,n}

Before you merge this, think of the version that is still running while it is applied:
- Add first, remove later: a column that old code reads goes away one release after it stopped.
- A new NOT NULL column needs a server_default, a new constraint NOT VALID and a later VALIDATE.
- An index on a table in use: postgresql_concurrently=True inside
  `with op.get_context().autocommit_block():`, alone in its migration.
- Moving data: in batches, from a job; a migration holds its locks until it ends.
Then delete this list and say above what changes and why.
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
