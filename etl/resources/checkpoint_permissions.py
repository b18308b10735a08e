"""Who may use a model: `GET /fine_tuning/checkpoints/{model}/permissions`."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Column, Index, Table

from etl.db.tables import metadata, refers_to
from etl.db.types import Name, UtcDateTime
from etl.fields import Drift
from etl.record import Record
from etl.resource import Parents, Resource, Row, row_of
from etl.resources.checkpoints import job_checkpoints
from etl.resources.jobs.tables import jobs
from etl.resources.reading import opened, parent

checkpoint_permissions = Table(
    "checkpoint_permissions",
    metadata,
    Column("id", Name(64), primary_key=True, comment="The permission's id, as cp_…"),
    Column(
        "fine_tuned_model_checkpoint",
        Name(),
        nullable=False,
        comment="The model, or the model of a checkpoint, that may be used.",
        info=refers_to("jobs.fine_tuned_model", "job_checkpoints.fine_tuned_model_checkpoint"),
    ),
    Column(
        "project_id",
        Name(),
        comment="The project that may use it. NULL: not said.",
        info=refers_to("projects.id"),
    ),
    Column("created_at", UtcDateTime(), comment="When it was given (UTC). NULL: not said."),
    Index("checkpoint_permissions_by_model", "fine_tuned_model_checkpoint"),
    comment="Which other projects may use a fine-tuned model. Needs an admin key; else empty.",
)

PermissionRow = row_of(checkpoint_permissions)

OBJECT = "checkpoint.permission"


def rows(record: Record) -> Iterator[Row | Drift]:
    """One permission becomes a row; the model is the one whose permissions were asked for."""
    permission = opened(record, OBJECT, "a permission")
    yield PermissionRow(
        id=record.id,
        fine_tuned_model_checkpoint=parent(record, "a permission", "a model", 255),
        project_id=permission.text("project_id", 255),
        created_at=permission.moment("created_at"),
    )
    permission.rest()
    yield from permission.notes


RESOURCE = Resource(
    name="checkpoint_permissions",
    object=OBJECT,
    path="/fine_tuning/checkpoints/{model}/permissions",
    table=checkpoint_permissions,
    rows=rows,
    parents=Parents(
        columns=(jobs.c.fine_tuned_model, job_checkpoints.c.fine_tuned_model_checkpoint),
        reads="list",
        until="daily",
    ),
)
