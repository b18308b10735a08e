"""Training metrics: what result files, events and checkpoints measured at each step.

The resource reads result files, `GET /files/{file_id}/content`; events and checkpoints bring
their own measurements.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from etl.fields import Drift
from etl.record import Record
from etl.resource import Parents, Resource, Row
from etl.resources.jobs.tables import JOB_ID, job_result_files
from etl.resources.metrics.lines import Notes, ResultFile
from etl.resources.metrics.measured import MetricRow, measurements, metric_rows, step_of
from etl.resources.metrics.tables import training_metrics
from etl.resources.reading import parent

log = logging.getLogger(__name__)

ORIGIN = "result_file"


def rows(record: Record) -> Iterator[Row | Drift]:
    """One result file becomes a row for each cell that holds a number.

    A blank cell was not measured. Of two lines of one step the last counts, as a whole.
    """
    job_id = parent(record, "a result file", "a job", JOB_ID)
    file = ResultFile(record.payload)
    notes = Notes()
    columns = file.columns(notes)
    noted = len(notes.found)
    latest = _latest(file, record.id)
    is_empty = True
    for number, (step, cells) in enumerate(file.lines(notes)):
        is_empty = False
        if latest is not None and latest[step] != number:
            continue
        for place, name in columns.metrics:
            cell = cells[place].strip()
            if cell and (value := file.number(cell, name, notes)) is not None:
                yield MetricRow(job_id, ORIGIN, record.id, step, name, value)
    if is_empty and len(notes.found) == noted:
        notes.add("content", "missing", "empty")
    yield from notes.found


def _latest(file: ResultFile, file_id: str) -> dict[int, int] | None:
    """Which line is the last of each step; None where no step comes twice, as is the rule."""
    before: int | None = None
    for step, _ in file.lines(Notes()):
        if before is not None and step <= before:
            break
        before = step
    else:
        return None
    latest: dict[int, int] = {}
    lines = 0
    for number, (step, _) in enumerate(file.lines(Notes())):
        latest[step] = number
        lines += 1
    if lines > len(latest):
        log.info("%s: %d lines repeat a step, the last counts", file_id, lines - len(latest))
    return latest


def always_final(record: Record) -> bool:  # noqa: ARG001 - the signature is the declaration's
    """A result file is written once, when its job is done."""
    return True


RESOURCE = Resource(
    name="metrics",
    object="",
    path="/files/{file_id}/content",
    table=None,
    rows=rows,
    owned={training_metrics: "origin_id"},
    marks={training_metrics: ("origin", ORIGIN)},
    is_final=always_final,
    parents=Parents(
        columns=(job_result_files.c.file_id,),
        reads="content",
        until="final",
        owner=job_result_files.c.job_id,
    ),
)

__all__ = [
    "ORIGIN",
    "RESOURCE",
    "always_final",
    "measurements",
    "metric_rows",
    "rows",
    "step_of",
    "training_metrics",
]
