"""The table of training metrics, which result files, events and checkpoints share."""

from __future__ import annotations

from sqlalchemy import Column, Index, Table

from etl.db.tables import metadata
from etl.db.types import BigInt, Float, Name
from etl.resources.jobs.tables import JOB_ID

training_metrics = Table(
    "training_metrics",
    metadata,
    Column("job_id", Name(JOB_ID), primary_key=True),
    Column("origin", Name(32), primary_key=True),
    Column("origin_id", Name(), primary_key=True),
    Column("step", BigInt, primary_key=True, autoincrement=False),
    Column("name", Name(), primary_key=True),
    Column("value", Float, nullable=False),
    Index("training_metrics_by_origin", "origin_id"),
    sqlite_with_rowid=False,
)

#: Longest name of a metric, in characters.
NAME_LENGTH = 255
