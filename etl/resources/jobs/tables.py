"""A job's tables: `jobs`, and one for each thing nested in a job."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Integer, Table

from etl.db.tables import metadata
from etl.db.types import BigInt, Float, Json, LongText, Name, UtcDateTime

JOB_ID = 64

jobs = Table(
    "jobs",
    metadata,
    Column("id", Name(JOB_ID), primary_key=True),
    Column("source", Name(64), nullable=False),
    Column("provider", Name(64), nullable=False),
    Column("id_space", Name(64), nullable=False),
    Column("project_id", Name()),
    Column("organization_id", Name()),
    Column("status", Name()),
    Column("model", Name()),
    Column("base_model", Name()),
    Column("fine_tuned_model", Name()),
    Column("user_provided_suffix", Name()),
    Column("method_type", Name()),
    Column("training_file", Name()),
    Column("validation_file", Name()),
    Column("trained_tokens", BigInt),
    Column("seed", BigInt),
    Column("error_code", Name()),
    Column("error_message", LongText()),
    Column("error_param", LongText()),
    Column("created_at", UtcDateTime(), nullable=False),
    Column("finished_at", UtcDateTime()),
    Column("estimated_finish", UtcDateTime()),
    Column("shared_with_openai", Boolean(create_constraint=False)),
    Column("eval_id", Name()),
    Column("usage_metrics", Json()),
)

# On SQLite the key of these small rows is the row (`sqlite_with_rowid`): half the pages to write.
job_hyperparameters = Table(
    "job_hyperparameters",
    metadata,
    Column("job_id", Name(JOB_ID), primary_key=True),
    Column("scope", Name(64), primary_key=True),
    Column("name", Name(), primary_key=True),
    Column("value_text", LongText(), nullable=False),
    Column("value_number", Float),
    Column("is_auto", Boolean(create_constraint=False), nullable=False),
    sqlite_with_rowid=False,
)

job_methods = Table(
    "job_methods",
    metadata,
    Column("job_id", Name(JOB_ID), primary_key=True),
    Column("type", Name(64), primary_key=True),
    Column("is_active", Boolean(create_constraint=False), nullable=False),
    Column("grader", Json()),
    Column("response_format", Json()),
    sqlite_with_rowid=False,
)

job_integrations = Table(
    "job_integrations",
    metadata,
    Column("job_id", Name(JOB_ID), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("type", Name()),
    Column("wandb_project", LongText()),
    Column("wandb_name", LongText()),
    Column("wandb_entity", LongText()),
    Column("wandb_run_id", LongText()),
    sqlite_with_rowid=False,
)

job_integration_tags = Table(
    "job_integration_tags",
    metadata,
    Column("job_id", Name(JOB_ID), primary_key=True),
    Column("integration_position", Integer, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("tag", LongText()),
    sqlite_with_rowid=False,
)

job_result_files = Table(
    "job_result_files",
    metadata,
    Column("job_id", Name(JOB_ID), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("file_id", Name(), nullable=False),
    sqlite_with_rowid=False,
)

job_metadata = Table(
    "job_metadata",
    metadata,
    Column("job_id", Name(JOB_ID), primary_key=True),
    Column("name", Name(), primary_key=True),
    Column("value", LongText(), nullable=False),
    sqlite_with_rowid=False,
)

job_usage_table = Table(
    "job_usage",
    metadata,
    Column("job_id", Name(JOB_ID), primary_key=True),
    Column("unit", Name(32), primary_key=True),
    Column("origin", Name(64), primary_key=True),
    Column("quantity", BigInt, nullable=False),
    sqlite_with_rowid=False,
)
