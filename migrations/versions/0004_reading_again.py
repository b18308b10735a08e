"""What it takes to read a quarantined record again, and to take up a replay that was cut.

A migration means the same in three years: it imports nothing of ours but `etl.db.types`.
"""

import sqlalchemy as sa
from alembic import op

from etl.db import types

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# What `etl.db.views.digest()` says of the views made at this revision: a changed view needs a new
# revision, or databases that are at this one would keep the old view.
VIEWS = "0c860f2ca177f3e2627c738f8622156f"


def _columns() -> list[sa.Column[object]]:
    return [
        sa.Column("id_space", types.Name(64)),
        sa.Column("provider", types.Name(64)),
        sa.Column("project_id", types.Name()),
        sa.Column("parent_id", types.Name()),
        sa.Column("position", types.BigInt),
        sa.Column("observed_at", types.UtcDateTime()),
        sa.Column("is_whole", sa.Boolean(create_constraint=False)),
    ]


def upgrade() -> None:
    for column in _columns():
        op.add_column("quarantine", column)
    op.create_table(
        "replays",
        sa.Column("resource", types.Name(64), primary_key=True),
        sa.Column("version", types.Name(), nullable=False),
        sa.Column("run_id", types.BigInt, nullable=False),
        sa.Column("started_at", types.UtcDateTime(), nullable=False),
        sa.Column("last_id", types.Name(), nullable=False),
        sa.Column("drift", types.Json()),
    )


def downgrade() -> None:
    op.drop_table("replays")
    for column in reversed(_columns()):
        op.drop_column("quarantine", column.name)
