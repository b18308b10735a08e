"""${message}.

A migration means the same in three years: it imports nothing of ours but `etl.db.types`.
"""

import sqlalchemy as sa
from alembic import op

from etl.db import types

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None

# What `etl.db.views.digest()` says of the views made at this revision: a changed view needs a new
# revision, or databases that are at this one would keep the old view.
VIEWS = ""


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
