"""How far a copy of the mirror came.

A migration means the same in three years: it imports nothing of ours but `etl.db.types`.
"""

import sqlalchemy as sa
from alembic import op

from etl.db import types

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# What `etl.db.views.digest()` says of the views made at this revision: a changed view needs a new
# revision, or databases that are at this one would keep the old view.
VIEWS = "34fc84b062c0a088481d31e362f2d13b"


def upgrade() -> None:
    op.create_table(
        "copies",
        sa.Column("table_name", types.Name(64), primary_key=True),
        sa.Column("origin", types.Name(64), nullable=False),
        sa.Column("state", types.Name(64), nullable=False),
        sa.Column("last_key", types.Json()),
        sa.Column("copied_rows", types.BigInt, nullable=False),
        sa.Column("finished_at", types.UtcDateTime()),
    )


def downgrade() -> None:
    op.drop_table("copies")
