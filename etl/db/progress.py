"""What hangs off others, and is due: which parents are to be asked, and how that went."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    Select,
    and_,
    exists,
    func,
    null,
    or_,
    select,
    update,
)

from etl.db import again, bulk
from etl.db.ledger import chunks
from etl.db.tables import child_progress, frontiers, records
from etl.db.types import utc_text
from etl.resource import Parents, Resource
from etl.resources.jobs.tables import jobs

#: Parents looked up at once.
AT_ONCE = 5_000


@dataclass(frozen=True)
class Due:
    """One parent that is to be asked for what hangs off it."""

    #: The value for the path.
    asked: str
    #: The job that it belongs to.
    job_id: str
    #: The record that names it, for what is no list.
    owner: str | None = None
    #: When the parent came to its end; None while it goes on, and where nobody needs to know.
    ended_at: datetime | None = None
    #: For a growing list: the newest ids when it was last read, and the next free position.
    newest_ids: tuple[str, ...] = ()
    next_position: int = 0
    #: When the job ended, or else began: how old all this is.
    job_at: datetime | None = None
    #: How it went before.
    read_at: datetime | None = None
    absent_since: datetime | None = None
    failed_at: datetime | None = None


@dataclass(frozen=True)
class ParentRead:
    """How it went to ask one parent."""

    resource: str
    parent_id: str
    source: str
    #: When the last read that reached its end had begun.
    read_at: datetime | None
    is_settled: bool
    #: Since when there is no such thing; None where there is.
    absent_since: datetime | None = None
    #: When the read failed; None where it did not.
    failed_at: datetime | None = None
    #: Did all that the parent's list has come? This is about the read, and is not kept.
    is_whole: bool = False


def due(
    engine: Engine,
    resource: Resource,
    source: str,
    unread_since: datetime,
    doubted: Collection[str] = (),
    told: Callable[[int], None] | None = None,
) -> Iterator[Due]:
    """The parents that a source is to be asked for, in the order of their ids, each once a column.

    `unread_since`: of those that are never settled, the ones that were not read since then.
    `doubted`: those that are to be asked again, and for all they have. `told`: called with how many
    there are, once there is one. Raises StoreError.
    """
    parents = resource.parents
    if parents is None:
        raise ValueError(f"{resource.name} hangs off nothing")
    queries = {
        column: _query(resource, parents, column, source, unread_since, doubted)
        for column in parents.columns
    }
    left = list(queries)
    for column, query in queries.items():
        left.remove(column)
        last = ""
        while True:
            found = _lines(engine, query.where(column > last))
            if told is not None and found:
                # What all of it is, is counted only where it is not seen anyway.
                counted = left if len(found) < AT_ONCE else [column, *left]
                here = len(found) if column not in counted else 0
                told(here + sum(_how_many(engine, one, queries[one]) for one in counted))
                told = None
            for line in sorted(found, key=_patience):
                newest = () if line.asked in doubted else tuple(line.newest_ids or ())
                position = 0 if line.position is None else line.position + 1
                yield Due(
                    line.asked,
                    line.job_id,
                    line.owner,
                    line.ended_at,
                    newest,
                    position,
                    line.job_at,
                    line.read_at,
                    line.absent_since,
                    line.failed_at,
                )
            if len(found) < AT_ONCE:
                break
            last = found[-1].asked


def _how_many(engine: Engine, column: Column[Any], query: Select[Any]) -> int:
    values = query.with_only_columns(column, maintain_column_froms=True)
    values = values.order_by(None).limit(None).distinct()
    found = _lines(engine, select(func.count().label("parents")).select_from(values.subquery()))
    return int(found[0].parents)


def _patience(line: Any) -> tuple[bool, bool, datetime | None]:
    """Who was read last comes last, so that all get their turn where the time is short.

    And behind them what failed the last time, so that it never keeps the others out.
    """
    return line.failed_at is not None, line.read_at is not None, line.read_at


def _query(
    resource: Resource,
    parents: Parents,
    column: Column[Any],
    source: str,
    unread_since: datetime,
    doubted: Collection[str],
) -> Select[Any]:
    table = column.table
    job_id = jobs.c.id if table is jobs else table.c.job_id
    progress = and_(
        child_progress.c.resource == resource.name, child_progress.c.parent_id == column
    )
    joined = table if table is jobs else table.join(jobs, jobs.c.id == job_id)
    joined = joined.outerjoin(child_progress, progress)
    newest: Any = null().label("newest_ids")
    position: Any = null().label("position")
    if parents.reads == "growing list":
        joined = joined.outerjoin(
            frontiers,
            and_(
                frontiers.c.source == source,
                frontiers.c.resource == resource.name,
                frontiers.c.parent_id == column,
            ),
        )
        newest = frontiers.c.newest_ids
        named_by = parents.named_by
        if named_by is None:
            raise ValueError(f"{resource.name} does not say which column names the parent")
        position = (
            select(func.max(named_by.table.c.position))
            .where(named_by == column)
            .scalar_subquery()
            .label("position")
        )
    if parents.until == "daily":
        is_due = or_(child_progress.c.read_at.is_(None), child_progress.c.read_at < unread_since)
    else:
        is_due = child_progress.c.is_settled.is_(False)
    if parents.until == "settled":
        is_due = or_(is_due, _is_doubtful(source))
    if doubted:
        is_due = or_(is_due, column.in_(sorted(doubted)))
    # One line a value, though several jobs may name one file.
    owner = null() if parents.owner is None else parents.owner
    ended_at = null() if parents.ended_at is None else parents.ended_at
    return (
        select(
            column.label("asked"),
            job_id.label("job_id"),
            owner.label("owner"),
            ended_at.label("ended_at"),
            newest,
            position,
            func.coalesce(jobs.c.finished_at, jobs.c.created_at).label("job_at"),
            child_progress.c.read_at,
            child_progress.c.absent_since,
            child_progress.c.failed_at,
        )
        .select_from(joined)
        .where(
            jobs.c.source == source,
            column.is_not(None),
            or_(child_progress.c.parent_id.is_(None), is_due),
        )
        .order_by(column, job_id)
        .limit(AT_ONCE)
    )


def _is_doubtful(source: str) -> ColumnElement[bool]:
    """Was it not there when it was asked for once, and has its job been listed since?

    A job that was deleted may come back before anybody misses it. Asked a second time, no means no.
    """
    listed_at = (
        select(frontiers.c.listed_at)
        .where(
            frontiers.c.source == source,
            frontiers.c.resource == jobs.name,
            frontiers.c.parent_id == "",
        )
        .scalar_subquery()
    )
    is_missing = exists().where(
        records.c.resource == jobs.name,
        records.c.id == jobs.c.id,
        records.c.missing_since.is_not(None),
    )
    return and_(
        child_progress.c.absent_since == child_progress.c.read_at,
        child_progress.c.absent_since < listed_at,
        ~is_missing,
    )


def positions(
    engine: Engine, resource: Resource, parent_id: str, ids: Collection[str] | None = None
) -> dict[str, int]:
    """Where each of a parent's records stands, or each of these. Raises StoreError."""
    parents, table = resource.parents, resource.table
    if parents is None or parents.named_by is None or table is None:
        raise ValueError(f"{resource.name} is no growing list")
    query = select(table.c.id, table.c.position).where(parents.named_by == parent_id)
    if ids is None:
        return {line.id: line.position for line in _lines(engine, query)}
    found: dict[str, int] = {}
    for some in chunks(sorted(ids)):
        lines = _lines(engine, query.where(table.c.id.in_(some)))
        found |= {line.id: line.position for line in lines}
    return found


def open_ids(
    engine: Engine,
    resource: Resource,
    source: str,
    now: datetime,
    *,
    changed_since: datetime,
    unread_since: datetime,
) -> list[tuple[str, bool]]:
    """The rows of a source that may still change, each with whether it is one of the slow ones.

    Slow is what has not changed since `changed_since`; it is left out where it was read after
    `unread_since`. Raises StoreError.
    """
    if resource.open_rows is None or resource.table is None:
        return []
    table = resource.table
    is_slow = records.c.changed_at < changed_since
    progress = and_(
        child_progress.c.resource == resource.name, child_progress.c.parent_id == table.c.id
    )
    its_record = and_(records.c.resource == resource.name, records.c.id == table.c.id)
    query = (
        select(table.c.id, records.c.changed_at)
        .select_from(table.join(records, its_record).outerjoin(child_progress, progress))
        .where(
            table.c.source == source,
            resource.open_rows(now),
            records.c.missing_since.is_(None),
            or_(
                ~is_slow,
                child_progress.c.read_at.is_(None),
                child_progress.c.read_at < unread_since,
            ),
        )
        .order_by(
            child_progress.c.failed_at.is_not(None),
            child_progress.c.read_at.is_not(None),
            child_progress.c.read_at,
            table.c.id,
        )
    )
    found = _lines(engine, query)
    return [(line.id, line.changed_at < changed_since) for line in found]


def _lines(engine: Engine, query: Select[Any]) -> Sequence[Any]:
    return again.read(engine, lambda connection: connection.execute(query).all())


if child_progress.columns.keys() != [
    "resource",
    "parent_id",
    "source",
    "read_at",
    "is_settled",
    "absent_since",
    "failed_at",
]:
    raise AssertionError("child_progress has other columns than are written")


def save(connection: Connection, lines: Iterable[ParentRead]) -> None:
    """Write how it went; the last word on a parent counts."""
    last = {(line.resource, line.parent_id): line for line in lines}
    rows = [
        (
            line.resource,
            line.parent_id,
            line.source,
            line.read_at and utc_text(line.read_at),
            line.is_settled,
            line.absent_since and utc_text(line.absent_since),
            line.failed_at and utc_text(line.failed_at),
        )
        for _, line in sorted(last.items())
    ]
    bulk.upsert_rows(connection, child_progress, rows)


def unsettle(connection: Connection, resources: Collection[str], ids: Collection[str]) -> None:
    """What hangs off these is to be read again: they changed, or came back."""
    if not resources:
        return
    for some in chunks(sorted(ids)):
        connection.execute(
            update(child_progress)
            .where(
                child_progress.c.resource.in_(sorted(resources)),
                child_progress.c.parent_id.in_(some),
            )
            .values(is_settled=False)
        )
