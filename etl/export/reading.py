"""Rows out of the database: of one moment, in order, and never many of them in memory."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    Select,
    TableClause,
    Text,
    cast,
    column,
    func,
    select,
    type_coerce,
)
from sqlalchemy import table as named
from sqlalchemy.sql.elements import ColumnElement

from etl.db.engine import database_errors
from etl.db.types import UtcDateTime
from etl.errors import StoreError
from etl.export.choosing import Chosen
from etl.export.kinds import JSON, Kind
from etl.export.relations import Relation

#: Rows that are held at once.
BATCH = 5_000
#: Views that are dear to count, with a row for each job.
A_ROW_A_JOB = frozenset({"billable_usage", "job_costs", "job_overview", "job_times"})

Row = tuple[Any, ...]


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """A connection whose every answer is of one moment, whoever writes meanwhile."""
    with database_errors(), engine.connect() as connection:
        if engine.dialect.name != "sqlite":  # whose transactions are so anyway
            connection.execution_options(isolation_level="REPEATABLE READ")
        yield connection


def rows(
    connection: Connection, wanted: Chosen, since: datetime | None
) -> Generator[list[Row], None, None]:
    """The rows in batches; a value is what the column's kind reads. Behind them stands the time.

    The time (None where there is none) is what a writer parts the rows by; it is no column.
    """
    relation = wanted.relation
    query = _select(connection, wanted, since)
    times = [] if relation.time is None else [relation.time]
    kinds = [*wanted.columns.values(), *(relation.columns[name] for name in times)]
    names = [*wanted.columns, *times]
    yield from streamed(connection, query, relation.name, dict(enumerate(kinds)), names)


def count(connection: Connection, wanted: Chosen, since: datetime | None) -> int | None:
    """How many rows there will be, where that is cheap to ask; else None."""
    relation = wanted.relation
    if relation.kind == "table":
        source = named(relation.name, *(column(name) for name in relation.columns))
        query = select(func.count()).select_from(source)
        query = query if since is None else _since(query, source, relation, since)
    elif relation.name in A_ROW_A_JOB and since is None:
        query = select(func.count()).select_from(named("jobs"))
    else:
        return None
    return int(connection.execute(query).scalar_one())


def streamed(
    connection: Connection,
    query: Select[Any],
    what: str,
    kinds: dict[int, Kind],
    names: Sequence[str],
) -> Generator[list[Row], None, None]:
    """The query's rows in batches, read by kind; other columns stay as the driver gives them.

    Raises StoreError for a value that its column's kind cannot hold.
    """
    streaming = connection.execution_options(stream_results=True, max_row_buffer=BATCH)
    with streaming.execute(query) as result:
        for part in result.partitions(BATCH):
            columns: list[Sequence[Any]] = list(zip(*part, strict=True))
            for number, kind in kinds.items():
                columns[number] = _read(columns[number], kind.reads, f"{what}.{names[number]}")
            yield list(zip(*columns, strict=True))


def _read(values: Sequence[Any], reads: Callable[[Any], Any], where: str) -> list[Any]:
    try:
        return [None if value is None else reads(value) for value in values]
    except (ArithmeticError, ValueError, TypeError) as error:
        message = f"a value of {where} cannot be exported: {error or type(error).__name__}"
        raise StoreError(message) from None


def _select(connection: Connection, wanted: Chosen, since: datetime | None) -> Select[Any]:
    """The columns without a type of SQLAlchemy's: drivers' values are read by kind, once."""
    relation = wanted.relation
    source = named(relation.name, *(column(name) for name in relation.columns))
    found: list[ColumnElement[Any]] = []
    for name, kind in wanted.columns.items():
        is_decoded = kind == JSON and connection.dialect.name == "postgresql"
        # Its driver would decode it, and forget how numbers were written.
        found.append(cast(source.c[name], Text).label(name) if is_decoded else source.c[name])
    if relation.time is not None:
        found.append(source.c[relation.time].label("row_time"))
    query = select(*found).select_from(source)
    # Nulls last: databases put them where they like.
    times = [] if relation.time is None else [relation.time]
    for name in [*times, *relation.key]:
        query = query.order_by(source.c[name].is_(None), source.c[name])
    return query if since is None else _since(query, source, relation, since)


def _since(
    query: Select[Any], source: TableClause, relation: Relation, since: datetime
) -> Select[Any]:
    if relation.time is not None:
        return query.where(type_coerce(source.c[relation.time], UtcDateTime()) >= since)
    if not relation.is_of_a_job:
        return query
    jobs = named("jobs", column("id"), column("created_at", UtcDateTime()))
    young = select(jobs.c.id).where(jobs.c.created_at >= since)
    return query.where(source.c.job_id.in_(young))
