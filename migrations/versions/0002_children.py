"""What hangs off jobs, how far it was read, and what changed from state to state.

A migration means the same in three years: it imports nothing of ours but `etl.db.types`.
"""

import base64
import json
import zlib

import sqlalchemy as sa
from alembic import op

from etl.db import types

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# What `etl.db.views.digest()` says of the views made at this revision: a changed view needs a new
# revision, or databases that are at this one would keep the old view.
VIEWS = "bc731ae2e34dd8ee204b40d2a17402e6"

TABLES = (
    "child_progress",
    "job_events",
    "job_checkpoints",
    "files",
    "training_metrics",
    "checkpoint_permissions",
    "projects",
)

#: What is mirrored in them.
RESOURCES = (
    "events",
    "checkpoints",
    "files",
    "metrics",
    "checkpoint_permissions",
    "projects",
)

#: Versions of jobs whose payloads are held in memory at once.
AT_ONCE = 500


def upgrade() -> None:
    for table in ("records", "record_versions"):
        op.add_column(table, sa.Column("status", types.Name()))
        op.add_column(table, sa.Column("changed_fields", types.LongText()))
    op.add_column("frontiers", sa.Column("gaps", types.Json()))
    _fill_statuses()
    op.create_table(
        "child_progress",
        sa.Column("resource", types.Name(64), primary_key=True),
        sa.Column("parent_id", types.Name(), primary_key=True),
        sa.Column("source", types.Name(64), nullable=False),
        sa.Column("read_at", types.UtcDateTime()),
        sa.Column("is_settled", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("absent_since", types.UtcDateTime()),
        sa.Column("failed_at", types.UtcDateTime()),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "job_events",
        sa.Column("id", types.Name(64), primary_key=True),
        sa.Column("job_id", types.Name(64), nullable=False),
        sa.Column("position", types.BigInt, nullable=False),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.Column("level", types.Name()),
        sa.Column("type", types.Name()),
        sa.Column("message", types.LongText()),
        sa.Column("data", types.Json()),
    )
    op.create_index("job_events_by_job", "job_events", ["job_id", "position"])
    op.create_table(
        "job_checkpoints",
        sa.Column("id", types.Name(64), primary_key=True),
        sa.Column("job_id", types.Name(64), nullable=False),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.Column("step_number", types.BigInt),
        sa.Column("fine_tuned_model_checkpoint", types.Name()),
        sa.Column("train_loss", types.Float),
        sa.Column("train_mean_token_accuracy", types.Float),
        sa.Column("valid_loss", types.Float),
        sa.Column("valid_mean_token_accuracy", types.Float),
        sa.Column("full_valid_loss", types.Float),
        sa.Column("full_valid_mean_token_accuracy", types.Float),
    )
    op.create_index("job_checkpoints_by_job", "job_checkpoints", ["job_id", "step_number"])
    op.create_table(
        "files",
        sa.Column("id", types.Name(), primary_key=True),
        sa.Column("filename", types.LongText()),
        sa.Column("bytes", types.BigInt),
        sa.Column("purpose", types.Name()),
        sa.Column("created_at", types.UtcDateTime()),
        sa.Column("expires_at", types.UtcDateTime()),
        sa.Column("status", types.Name()),
    )
    op.create_table(
        "training_metrics",
        sa.Column("job_id", types.Name(64), primary_key=True),
        sa.Column("origin", types.Name(32), primary_key=True),
        sa.Column("origin_id", types.Name(), primary_key=True),
        sa.Column("step", types.BigInt, primary_key=True, autoincrement=False),
        sa.Column("name", types.Name(), primary_key=True),
        sa.Column("value", types.Float, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("training_metrics_by_origin", "training_metrics", ["origin_id"])
    op.create_table(
        "checkpoint_permissions",
        sa.Column("id", types.Name(64), primary_key=True),
        sa.Column("fine_tuned_model_checkpoint", types.Name(), nullable=False),
        sa.Column("project_id", types.Name()),
        sa.Column("created_at", types.UtcDateTime()),
    )
    op.create_index(
        "checkpoint_permissions_by_model",
        "checkpoint_permissions",
        ["fine_tuned_model_checkpoint"],
    )
    op.create_table(
        "projects",
        sa.Column("id", types.Name(64), primary_key=True),
        sa.Column("name", types.LongText()),
        sa.Column("status", types.Name()),
        sa.Column("created_at", types.UtcDateTime()),
        sa.Column("archived_at", types.UtcDateTime()),
    )


def downgrade() -> None:
    # Their rows go too: a ledger that still knew them would take them for unchanged ever after.
    names = ", ".join(f"'{name}'" for name in RESOURCES)
    for table in ("records", "record_versions", "frontiers"):
        op.execute(f"DELETE FROM {table} WHERE resource IN ({names})")
    for table in reversed(TABLES):
        op.drop_table(table)
    op.drop_column("frontiers", "gaps")
    for table in ("records", "record_versions"):
        op.drop_column(table, "changed_fields")
        op.drop_column(table, "status")


def _fill_statuses() -> None:
    """The statuses of states that were mirrored before; what changed in them stays unknown."""
    op.execute(
        "UPDATE records SET status = (SELECT jobs.status FROM jobs WHERE jobs.id = records.id) "
        "WHERE resource = 'jobs'"
    )
    if op.get_context().as_sql:
        return
    connection = op.get_bind()
    versions = sa.table(
        "record_versions",
        *map(sa.column, ("resource", "id", "version", "payload", "payload_encoding", "status")),
    )
    change = (
        sa.update(versions)
        .where(
            versions.c.resource == "jobs",
            versions.c.id == sa.bindparam("of_id"),
            versions.c.version == sa.bindparam("of_version"),
        )
        .values(status=sa.bindparam("of_status"))
    )
    query = (
        sa.select(
            versions.c.id, versions.c.version, versions.c.payload, versions.c.payload_encoding
        )
        .where(versions.c.resource == "jobs")
        .order_by(versions.c.id, versions.c.version)
        .limit(AT_ONCE)
    )
    found = connection.execute(query).all()
    while found:
        statuses = [
            {"of_id": identifier, "of_version": version, "of_status": status}
            for identifier, version, payload, encoding in found
            if (status := _status(payload, encoding)) is not None
        ]
        if statuses:
            connection.execute(change, statuses)
        last = found[-1]
        after = versions.c.id > last.id
        # Said so that an index on the key is read from the last one on.
        more = sa.and_(versions.c.id >= last.id, after | (versions.c.version > last.version))
        found = connection.execute(query.where(more)).all()


def _status(payload: str, encoding: str) -> str | None:
    text = payload.encode() if encoding == "text" else base64.b64decode(payload)
    if encoding == "zlib+base64":
        text = zlib.decompress(text)
    try:
        value = json.loads(text)
    except ValueError:
        return None
    status = value.get("status") if isinstance(value, dict) else None
    return status[:255] if isinstance(status, str) and "\x00" not in status else None
