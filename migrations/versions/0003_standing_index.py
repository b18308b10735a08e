"""An index that holds what decides whether a record is untouched, on MariaDB and MySQL.

A migration means the same in three years: it imports nothing of ours but `etl.db.types`.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# What `etl.db.views.digest()` says of the views made at this revision: a changed view needs a new
# revision, or databases that are at this one would keep the old view.
VIEWS = "bc731ae2e34dd8ee204b40d2a17402e6"

NAME = "records_standing"
COLUMNS = ["resource", "id", "digest", "source", "id_space", "missing_since", "position"]


def upgrade() -> None:
    if _is_wanted():
        op.create_index(NAME, "records", COLUMNS)


def downgrade() -> None:
    if _is_wanted():
        op.drop_index(NAME, "records")


def _is_wanted() -> bool:
    return op.get_context().dialect.name in ("mariadb", "mysql")
