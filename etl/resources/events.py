"""Events of a job: `GET /fine_tuning/jobs/{job_id}/events`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import Column, ColumnElement, Index, Table, case, func, select

from etl.db.tables import metadata, refers_to
from etl.db.types import BigInt, Json, LongText, Name, UtcDateTime
from etl.errors import RecordError
from etl.fields import Drift, Fields
from etl.record import Record
from etl.resource import Parents, Resource, Row, row_of
from etl.resources.jobs.states import FINAL_STATUSES
from etl.resources.jobs.tables import JOB_ID, jobs
from etl.resources.metrics.measured import measurements, metric_rows, step_of
from etl.resources.metrics.tables import training_metrics
from etl.resources.reading import created_at, opened, parent
from etl.spend.rules import billed_tokens

job_events = Table(
    "job_events",
    metadata,
    Column("id", Name(64), primary_key=True, comment="The event's id, as ftevent-…"),
    Column("job_id", Name(JOB_ID), nullable=False, comment="The job.", info=refers_to("jobs.id")),
    Column(
        "position",
        BigInt,
        nullable=False,
        comment="Its place among its job's events: 0 is the oldest, and what it is it stays.",
    ),
    Column(
        "created_at",
        UtcDateTime(),
        nullable=False,
        comment="When it happened (UTC). Several share a second: order by position.",
    ),
    Column("level", Name(), comment="info, warn (at Azure warning) or error. NULL: not said."),
    Column("type", Name(), comment="message, metrics or moderation_checks. NULL: not said."),
    Column("message", LongText(), comment="What happened, in the server's words. NULL: not said."),
    Column(
        "data",
        Json(),
        comment="What it measured or found. Figures stand in training_metrics too. NULL: nothing.",
    ),
    Index("job_events_by_job", "job_id", "position"),
    comment="What happened in the course of a job, one row each.",
)

EventRow = row_of(job_events)

OBJECT = "fine_tuning.job.event"
ORIGIN = "event"
#: The name under which a bill that stands in an event's text is kept among what events measured.
BILLED = "training_tokens_billed"
#: `warning` is Azure's word.
LEVELS = frozenset({"info", "warn", "warning", "error"})
TYPES = frozenset({"message", "metrics", "moderation_checks"})


def rows(record: Record) -> Iterator[Row | Drift]:
    """One event becomes a row, and one more for each thing it measured."""
    event = opened(record, OBJECT, "an event")
    job_id = parent(record, "an event", "a job", JOB_ID)
    if record.position is None:
        raise RecordError("nothing says which place the event has among its job's events")
    kind = _known(event, "type", TYPES)
    message = event.text("message")
    yield EventRow(
        id=record.id,
        job_id=job_id,
        position=record.position,
        created_at=created_at(event),
        level=_known(event, "level", LEVELS),
        type=kind,
        message=message,
        data=event.json("data"),
    )
    data = event.object("data")
    if kind == "metrics" or _is_number(data.raw("step")):
        step = step_of(data, "step")
        if step is not None:
            yield from metric_rows(job_id, ORIGIN, record.id, step, measurements(data))
        elif data.raw("step") is None:
            data.note("step", "missing", data.value)
    billed = billed_tokens(message)
    if billed is not None:
        said = {BILLED: float(billed)}
        yield from metric_rows(job_id, ORIGIN, record.id, 0, said)
    event.rest()
    yield from event.notes


def _known(event: Fields, name: str, words: frozenset[str]) -> str | None:
    word = event.text(name, 255)
    if word is not None and word not in words:
        event.note(name, "unknown_value", word)
    return word


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _ended_at() -> ColumnElement[datetime | None]:
    newest = (
        select(func.max(job_events.c.created_at))
        .where(job_events.c.job_id == jobs.c.id)
        .correlate(jobs)
        .scalar_subquery()
    )
    ended = func.coalesce(jobs.c.finished_at, newest, jobs.c.estimated_finish, jobs.c.created_at)
    return case((jobs.c.status.in_(sorted(FINAL_STATUSES)), ended), else_=None)


#: When a job came to its end, as well as that is known; NULL while it is open. For statements
#: that select from `jobs`.
ENDED_AT = _ended_at()

RESOURCE = Resource(
    name="events",
    object=OBJECT,
    path="/fine_tuning/jobs/{job_id}/events",
    table=job_events,
    rows=rows,
    owned={training_metrics: "origin_id"},
    marks={training_metrics: ("origin", ORIGIN)},
    parents=Parents(
        columns=(jobs.c.id,),
        reads="growing list",
        until="settled",
        ended_at=ENDED_AT,
        named_by=job_events.c.job_id,
    ),
)
