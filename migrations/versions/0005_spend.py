"""What training cost: the price book, and what was billed.

A migration means the same in three years: it imports nothing of ours but `etl.db.types`.
"""

import sqlalchemy as sa
from alembic import op

from etl.db import types

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# What `etl.db.views.digest()` says of the views made at this revision: a changed view needs a new
# revision, or databases that are at this one would keep the old view.
VIEWS = "4847522c38ba19ce4b25261bdb78a17f"

#: What is mirrored in them.
RESOURCES = ("costs",)


def upgrade() -> None:
    op.create_table(
        "prices",
        sa.Column("provider", types.Name(64), primary_key=True),
        sa.Column("model", types.Name(), primary_key=True),
        sa.Column("method", types.Name(64), primary_key=True),
        sa.Column("unit", types.Name(32), primary_key=True),
        sa.Column("valid_from", types.UtcDateTime(), primary_key=True),
        sa.Column("valid_until", types.UtcDateTime()),
        sa.Column("amount_microusd", types.BigInt, nullable=False),
        sa.Column("per_quantity", types.BigInt, nullable=False),
        sa.Column("quantity_step", types.BigInt, nullable=False),
        sa.Column("has_free_allowance", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("prefix_length", sa.Integer),
        sa.Column("precedence", types.BigInt, nullable=False),
        sa.Column("confidence", types.Name(32), nullable=False),
        sa.Column("source_note", types.LongText(), nullable=False),
    )
    op.create_table(
        "line_item_patterns",
        sa.Column("pattern", types.Name(), primary_key=True),
        sa.Column("kind", types.Name(32), nullable=False),
    )
    op.create_table(
        "billed_costs",
        sa.Column("organization_id", types.Name(64), primary_key=True),
        sa.Column("start_time", types.UtcDateTime(), primary_key=True),
        sa.Column("project_id", types.Name(), primary_key=True),
        sa.Column("line_item", types.Name(), primary_key=True),
        sa.Column("currency", types.Name(16), primary_key=True),
        sa.Column("quantity_unit", types.Name(64), primary_key=True),
        sa.Column("bucket_id", types.Name(), nullable=False),
        sa.Column("end_time", types.UtcDateTime()),
        sa.Column("amount", types.Exact(), nullable=False),
        sa.Column("amount_nano", types.BigInt, nullable=False),
        sa.Column("quantity", types.Float),
    )
    op.create_table(
        "sent_alerts",
        sa.Column("kind", types.Name(32), primary_key=True),
        sa.Column("fact", types.Name(128), primary_key=True),
        sa.Column("run_id", types.BigInt),
        sa.Column("sent_at", types.UtcDateTime(), nullable=False),
    )
    op.create_index("billed_costs_by_bucket", "billed_costs", ["bucket_id"])


def downgrade() -> None:
    # Their records go too: a ledger that still knew them would take them for unchanged ever after.
    names = ", ".join(f"'{name}'" for name in RESOURCES)
    for table in ("records", "record_versions", "frontiers"):
        op.execute(f"DELETE FROM {table} WHERE resource IN ({names})")
    for table in ("sent_alerts", "billed_costs", "line_item_patterns", "prices"):
        op.drop_table(table)
