"""Checkpoints of a job: `GET /fine_tuning/jobs/{job_id}/checkpoints`."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Column, Index, Table

from etl.db.tables import metadata, refers_to
from etl.db.types import BigInt, Float, Name, UtcDateTime
from etl.errors import RecordError
from etl.fields import Drift, Fields
from etl.record import Record
from etl.resource import Parents, Resource, Row, row_of
from etl.resources.events import ENDED_AT
from etl.resources.jobs.tables import JOB_ID, jobs
from etl.resources.metrics.measured import measurements, metric_rows, step_of
from etl.resources.metrics.tables import training_metrics
from etl.resources.reading import created_at, opened, parent

job_checkpoints = Table(
    "job_checkpoints",
    metadata,
    Column("id", Name(64), primary_key=True, comment="The checkpoint's id, as ftckpt_…"),
    Column("job_id", Name(JOB_ID), nullable=False, comment="The job.", info=refers_to("jobs.id")),
    Column("created_at", UtcDateTime(), nullable=False, comment="When it was made (UTC)."),
    Column("step_number", BigInt, comment="After which step. NULL: not said."),
    Column(
        "fine_tuned_model_checkpoint",
        Name(),
        comment="The model as it was then, for use. NULL: it cannot be used.",
    ),
    Column(
        "train_loss",
        Float,
        comment="Loss of the step on its training examples. NULL: not measured.",
    ),
    Column(
        "train_mean_token_accuracy",
        Float,
        comment="Share of training tokens predicted right, 0 to 1. NULL: not measured.",
    ),
    Column("valid_loss", Float, comment="Loss on some validation examples. NULL: not measured."),
    Column(
        "valid_mean_token_accuracy",
        Float,
        comment="Share of some validation tokens predicted right, 0 to 1. NULL: not measured.",
    ),
    Column(
        "full_valid_loss", Float, comment="Loss on the whole validation file. NULL: not measured."
    ),
    Column(
        "full_valid_mean_token_accuracy",
        Float,
        comment="Share of all validation tokens predicted right, 0 to 1. NULL: not measured.",
    ),
    Index("job_checkpoints_by_job", "job_id", "step_number"),
    comment="Models as they were in the course of a job's training, with how good they were.",
)

CheckpointRow = row_of(job_checkpoints)

OBJECT = "fine_tuning.job.checkpoint"
ORIGIN = "checkpoint"


def rows(record: Record) -> Iterator[Row | Drift]:
    """One checkpoint becomes a row, and one more for each thing it measured."""
    checkpoint = opened(record, OBJECT, "a checkpoint")
    job_id = _job_id(record, checkpoint)
    metrics = checkpoint.object("metrics")
    found = measurements(metrics)
    said = step_of(checkpoint, "step_number")
    measured_at = step_of(metrics, "step")
    yield CheckpointRow(
        id=record.id,
        job_id=job_id,
        created_at=created_at(checkpoint),
        step_number=said,
        fine_tuned_model_checkpoint=checkpoint.text("fine_tuned_model_checkpoint", 255),
        train_loss=found.get("train_loss"),
        train_mean_token_accuracy=found.get("train_mean_token_accuracy"),
        valid_loss=found.get("valid_loss"),
        valid_mean_token_accuracy=found.get("valid_mean_token_accuracy"),
        full_valid_loss=found.get("full_valid_loss"),
        full_valid_mean_token_accuracy=found.get("full_valid_mean_token_accuracy"),
    )
    step = measured_at if said is None else said
    if step is not None:
        yield from metric_rows(job_id, ORIGIN, record.id, step, found)
    elif found and checkpoint.raw("step_number") is None and metrics.raw("step") is None:
        checkpoint.note("step_number", "missing", None)
    if measured_at is not None and measured_at != step:
        metrics.note("step", "unknown_value", metrics.raw("step"))
    checkpoint.rest()
    yield from checkpoint.notes


def _job_id(record: Record, checkpoint: Fields) -> str:
    """The job that the checkpoint is of: the one it was asked for by, and says so itself."""
    if checkpoint.raw("fine_tuning_job_id") is None:
        return parent(record, "a checkpoint", "a job", JOB_ID)
    said = checkpoint.key("fine_tuning_job_id", JOB_ID)
    if record.parent_id and said != record.parent_id:
        raise RecordError(
            f"the checkpoint is of job {said!r} and stood in the list of job {record.parent_id!r}"
        )
    return said


RESOURCE = Resource(
    name="checkpoints",
    object=OBJECT,
    path="/fine_tuning/jobs/{job_id}/checkpoints",
    table=job_checkpoints,
    rows=rows,
    owned={training_metrics: "origin_id"},
    marks={training_metrics: ("origin", ORIGIN)},
    parents=Parents(
        columns=(jobs.c.id,),
        reads="list",
        until="settled",
        ended_at=ENDED_AT,
        field="fine_tuning_job_id",
    ),
)
