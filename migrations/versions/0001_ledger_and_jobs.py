"""The ledger, the bookkeeping of runs, and jobs.

A migration means the same in three years: it imports nothing of ours but `etl.db.types`.
"""

import sqlalchemy as sa
from alembic import op

from etl.db import types

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    "records",
    "record_versions",
    "frontiers",
    "sync_runs",
    "sync_resource_runs",
    "quarantine",
    "drift",
    "jobs",
    "job_hyperparameters",
    "job_methods",
    "job_integrations",
    "job_integration_tags",
    "job_result_files",
    "job_metadata",
    "job_usage",
)


def upgrade() -> None:
    op.create_table(
        "records",
        sa.Column("resource", types.Name(64), primary_key=True),
        sa.Column("id", types.Name(), primary_key=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("last_version", sa.Integer(), nullable=False),
        sa.Column("id_space", types.Name(64), nullable=False),
        sa.Column("source", types.Name(64), nullable=False),
        sa.Column("provider", types.Name(64), nullable=False),
        sa.Column("project_id", types.Name()),
        sa.Column("parent_id", types.Name()),
        sa.Column("position", types.BigInt),
        sa.Column("payload", types.LongText(), nullable=False),
        sa.Column("payload_encoding", types.Name(16), nullable=False),
        sa.Column("digest", types.Name(32), nullable=False),
        sa.Column("canonical_digest", types.Name(32), nullable=False),
        sa.Column("observed_at", types.UtcDateTime()),
        sa.Column("changed_at", types.UtcDateTime(), nullable=False),
        sa.Column("run_id", types.BigInt, nullable=False),
        sa.Column("first_seen_at", types.UtcDateTime(), nullable=False),
        sa.Column("missing_since", types.UtcDateTime()),
    )
    op.create_table(
        "record_versions",
        sa.Column("resource", types.Name(64), primary_key=True),
        sa.Column("id", types.Name(), primary_key=True),
        sa.Column("version", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("id_space", types.Name(64), nullable=False),
        sa.Column("source", types.Name(64), nullable=False),
        sa.Column("provider", types.Name(64), nullable=False),
        sa.Column("project_id", types.Name()),
        sa.Column("parent_id", types.Name()),
        sa.Column("position", types.BigInt),
        sa.Column("payload", types.LongText(), nullable=False),
        sa.Column("payload_encoding", types.Name(16), nullable=False),
        sa.Column("digest", types.Name(32), nullable=False),
        sa.Column("canonical_digest", types.Name(32), nullable=False),
        sa.Column("observed_at", types.UtcDateTime()),
        sa.Column("changed_at", types.UtcDateTime(), nullable=False),
        sa.Column("run_id", types.BigInt, nullable=False),
    )
    op.create_table(
        "frontiers",
        sa.Column("source", types.Name(64), primary_key=True),
        sa.Column("resource", types.Name(64), primary_key=True),
        sa.Column("parent_id", types.Name(), primary_key=True),
        sa.Column("newest_ids", types.Json()),
        sa.Column("cursor", types.LongText()),
        sa.Column("listing_started_at", types.UtcDateTime()),
        sa.Column("listed_at", types.UtcDateTime()),
    )
    op.create_table(
        "sync_runs",
        sa.Column("id", types.BigInt, primary_key=True, autoincrement=True),
        sa.Column("started_at", types.UtcDateTime(), nullable=False),
        sa.Column("finished_at", types.UtcDateTime()),
        sa.Column("status", types.Name(16), nullable=False),
        sa.Column("mode", types.Name(16), nullable=False),
        sa.Column("error", types.LongText()),
        sa.Column("pages", types.BigInt, nullable=False),
        sa.Column("requests", types.BigInt, nullable=False),
        sa.Column("retries", types.BigInt, nullable=False),
        sa.Column("records", types.BigInt, nullable=False),
        sa.Column("created", types.BigInt, nullable=False),
        sa.Column("updated", types.BigInt, nullable=False),
        sa.Column("unchanged", types.BigInt, nullable=False),
        sa.Column("older", types.BigInt, nullable=False),
        sa.Column("missing", types.BigInt, nullable=False),
        sa.Column("quarantined", types.BigInt, nullable=False),
    )
    op.create_table(
        "sync_resource_runs",
        sa.Column("run_id", types.BigInt, primary_key=True, autoincrement=False),
        sa.Column("source", types.Name(64), primary_key=True),
        sa.Column("resource", types.Name(64), primary_key=True),
        sa.Column("started_at", types.UtcDateTime(), nullable=False),
        sa.Column("finished_at", types.UtcDateTime()),
        sa.Column("status", types.Name(16), nullable=False),
        sa.Column("is_whole", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("error", types.LongText()),
        sa.Column("pages", types.BigInt, nullable=False),
        sa.Column("requests", types.BigInt, nullable=False),
        sa.Column("retries", types.BigInt, nullable=False),
        sa.Column("records", types.BigInt, nullable=False),
        sa.Column("created", types.BigInt, nullable=False),
        sa.Column("updated", types.BigInt, nullable=False),
        sa.Column("unchanged", types.BigInt, nullable=False),
        sa.Column("older", types.BigInt, nullable=False),
        sa.Column("missing", types.BigInt, nullable=False),
        sa.Column("quarantined", types.BigInt, nullable=False),
    )
    op.create_table(
        "quarantine",
        sa.Column("id", types.BigInt, primary_key=True, autoincrement=True),
        sa.Column("run_id", types.BigInt, nullable=False),
        sa.Column("source", types.Name(64), nullable=False),
        sa.Column("resource", types.Name(64), nullable=False),
        sa.Column("record_id", types.Name()),
        sa.Column("reason", types.LongText(), nullable=False),
        sa.Column("payload", types.LongText(), nullable=False),
        sa.Column("payload_encoding", types.Name(16), nullable=False),
        sa.Column("digest", types.Name(32), nullable=False),
        sa.Column("first_seen_at", types.UtcDateTime(), nullable=False),
        sa.Column("last_seen_at", types.UtcDateTime(), nullable=False),
        sa.Column("resolved_at", types.UtcDateTime()),
    )
    op.create_index("quarantine_by_digest", "quarantine", ["resource", "digest"])
    op.create_table(
        "drift",
        sa.Column("resource", types.Name(64), primary_key=True),
        sa.Column("path", types.Name(), primary_key=True),
        sa.Column("kind", types.Name(64), primary_key=True),
        sa.Column("example", types.LongText()),
        sa.Column("first_seen_at", types.UtcDateTime(), nullable=False),
        sa.Column("last_seen_at", types.UtcDateTime(), nullable=False),
        sa.Column("occurrences", types.BigInt, nullable=False),
    )
    op.create_table(
        "jobs",
        sa.Column("id", types.Name(64), primary_key=True),
        sa.Column("source", types.Name(64), nullable=False),
        sa.Column("provider", types.Name(64), nullable=False),
        sa.Column("id_space", types.Name(64), nullable=False),
        sa.Column("project_id", types.Name()),
        sa.Column("organization_id", types.Name()),
        sa.Column("status", types.Name()),
        sa.Column("model", types.Name()),
        sa.Column("base_model", types.Name()),
        sa.Column("fine_tuned_model", types.Name()),
        sa.Column("user_provided_suffix", types.Name()),
        sa.Column("method_type", types.Name()),
        sa.Column("training_file", types.Name()),
        sa.Column("validation_file", types.Name()),
        sa.Column("trained_tokens", types.BigInt),
        sa.Column("seed", types.BigInt),
        sa.Column("error_code", types.Name()),
        sa.Column("error_message", types.LongText()),
        sa.Column("error_param", types.LongText()),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.Column("finished_at", types.UtcDateTime()),
        sa.Column("estimated_finish", types.UtcDateTime()),
        sa.Column("shared_with_openai", sa.Boolean(create_constraint=False)),
        sa.Column("eval_id", types.Name()),
        sa.Column("usage_metrics", types.Json()),
    )
    op.create_table(
        "job_hyperparameters",
        sa.Column("job_id", types.Name(64), primary_key=True),
        sa.Column("scope", types.Name(64), primary_key=True),
        sa.Column("name", types.Name(), primary_key=True),
        sa.Column("value_text", types.LongText(), nullable=False),
        sa.Column("value_number", types.Float),
        sa.Column("is_auto", sa.Boolean(create_constraint=False), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "job_methods",
        sa.Column("job_id", types.Name(64), primary_key=True),
        sa.Column("type", types.Name(64), primary_key=True),
        sa.Column("is_active", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("grader", types.Json()),
        sa.Column("response_format", types.Json()),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "job_integrations",
        sa.Column("job_id", types.Name(64), primary_key=True),
        sa.Column("position", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("type", types.Name()),
        sa.Column("wandb_project", types.LongText()),
        sa.Column("wandb_name", types.LongText()),
        sa.Column("wandb_entity", types.LongText()),
        sa.Column("wandb_run_id", types.LongText()),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "job_integration_tags",
        sa.Column("job_id", types.Name(64), primary_key=True),
        sa.Column("integration_position", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("position", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("tag", types.LongText()),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "job_result_files",
        sa.Column("job_id", types.Name(64), primary_key=True),
        sa.Column("position", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("file_id", types.Name(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "job_metadata",
        sa.Column("job_id", types.Name(64), primary_key=True),
        sa.Column("name", types.Name(), primary_key=True),
        sa.Column("value", types.LongText(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "job_usage",
        sa.Column("job_id", types.Name(64), primary_key=True),
        sa.Column("unit", types.Name(32), primary_key=True),
        sa.Column("origin", types.Name(64), primary_key=True),
        sa.Column("quantity", types.BigInt, nullable=False),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)
