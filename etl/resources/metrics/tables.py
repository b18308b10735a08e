"""The table of training metrics, which result files, events and checkpoints share."""

from __future__ import annotations

from sqlalchemy import Column, Index, Table

from etl.db.tables import metadata, refers_to
from etl.db.types import BigInt, Float, Name
from etl.resources.jobs.tables import JOB_ID

training_metrics = Table(
    "training_metrics",
    metadata,
    Column("job_id", Name(JOB_ID), primary_key=True, comment="The job.", info=refers_to("jobs.id")),
    Column(
        "origin",
        Name(32),
        primary_key=True,
        comment="Who measured: result_file, event or checkpoint.",
    ),
    Column(
        "origin_id",
        Name(),
        primary_key=True,
        comment="The id of that file, event or checkpoint.",
        info=refers_to("files.id", "job_events.id", "job_checkpoints.id"),
    ),
    Column(
        "step",
        BigInt,
        primary_key=True,
        autoincrement=False,
        comment="The step of training. 0 for what an event says of the whole job.",
    ),
    Column(
        "name",
        Name(),
        primary_key=True,
        comment="What was measured, as train_loss; what stands deeper has its path, as "
        "timing.step.full_iteration.",
    ),
    Column("value", Float, nullable=False, comment="The figure, in the unit that its name says."),
    Index("training_metrics_by_origin", "origin_id"),
    sqlite_with_rowid=False,
    comment="Every figure that was measured in training, one row each. Several origins tell of the "
    "same step: ask for one of them.",
)

#: Longest name of a metric, in characters.
NAME_LENGTH = 255
