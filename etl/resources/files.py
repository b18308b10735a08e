"""Files that jobs name: `GET /files/{file_id}`. What is in them is never asked for here."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Column, Table

from etl.db.tables import metadata
from etl.db.types import BigInt, LongText, Name, UtcDateTime
from etl.fields import Drift
from etl.record import Record
from etl.resource import Parents, Resource, Row, row_of
from etl.resources.jobs.tables import job_result_files, jobs
from etl.resources.reading import opened

files = Table(
    "files",
    metadata,
    Column("id", Name(), primary_key=True, comment="The file's id, as file-…"),
    Column("filename", LongText(), comment="The name it was uploaded under. NULL: not said."),
    Column("bytes", BigInt, comment="Its size in bytes. NULL: not said."),
    Column("purpose", Name(), comment="As fine-tune or fine-tune-results. NULL: not said."),
    Column("created_at", UtcDateTime(), comment="When it was made (UTC). NULL: not said."),
    Column("expires_at", UtcDateTime(), comment="When it will be deleted (UTC). NULL: never."),
    Column("status", Name(), comment="As uploaded, processed or error. NULL: not said."),
    comment="Files that jobs name. What is in them is mirrored of result files only.",
)

FileRow = row_of(files)

OBJECT = "file"
#: Statuses of a file that the server is still at work on.
OPEN_STATUSES = frozenset({"uploaded", "pending", "running"})


def rows(record: Record) -> Iterator[Row | Drift]:
    """One file becomes a row."""
    file = opened(record, OBJECT, "a file")
    yield FileRow(
        id=record.id,
        filename=file.text("filename"),
        bytes=file.integer("bytes"),
        purpose=file.text("purpose", 255),
        created_at=file.moment("created_at"),
        expires_at=file.moment("expires_at", zero_is_none=True),
        status=file.text("status", 255),
    )
    # Given up by the API: why a file was refused is said by the job.
    file.raw("status_details")
    file.rest()
    yield from file.notes


def is_final(record: Record) -> bool:
    """Is the server done with the file? One that does not say so is."""
    status = record.value.get("status") if isinstance(record.value, dict) else None
    return not (isinstance(status, str) and status in OPEN_STATUSES)


RESOURCE = Resource(
    name="files",
    object=OBJECT,
    path="/files/{file_id}",
    table=files,
    rows=rows,
    is_final=is_final,
    parents=Parents(
        columns=(jobs.c.training_file, jobs.c.validation_file, job_result_files.c.file_id),
        reads="item",
        until="final",
    ),
)
