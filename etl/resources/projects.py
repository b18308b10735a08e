"""Projects of the organization: `GET /organization/projects`."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Column, Table

from etl.db.tables import metadata
from etl.db.types import LongText, Name, UtcDateTime
from etl.fields import Drift
from etl.record import Record
from etl.resource import Resource, Row, row_of
from etl.resources.reading import opened

projects = Table(
    "projects",
    metadata,
    Column("id", Name(64), primary_key=True, comment="The project's id, as proj_…"),
    Column("name", LongText(), comment="Its name, as people see it. NULL: it has none."),
    Column("status", Name(), comment="active or archived. NULL: not said."),
    Column("created_at", UtcDateTime(), comment="When it was made (UTC). NULL: not said."),
    Column("archived_at", UtcDateTime(), comment="When it was archived (UTC). NULL: it was not."),
    comment="Projects of the organization, archived ones too. Needs an admin key; else empty.",
)

ProjectRow = row_of(projects)

OBJECT = "organization.project"


def rows(record: Record) -> Iterator[Row | Drift]:
    """One project becomes a row."""
    project = opened(record, OBJECT, "a project")
    yield ProjectRow(
        id=record.id,
        name=project.text("name"),
        status=project.text("status", 255),
        created_at=project.moment("created_at"),
        archived_at=project.moment("archived_at", zero_is_none=True),
    )
    # Known, and of no use to the history of training.
    for name in ("external_key_id", "residency"):
        project.raw(name)
    project.rest()
    yield from project.notes


RESOURCE = Resource(
    name="projects",
    object=OBJECT,
    path="/organization/projects",
    table=projects,
    rows=rows,
)
