"""Two mirrors held against each other, table by table, and one against what must always be true."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Column, Connection, Engine, Table, func, select

from etl.db import migrate, views
from etl.db.tables import (
    child_progress,
    drift,
    frontiers,
    leases,
    metadata,
    quarantine,
    record_versions,
    records,
    sync_resource_runs,
    sync_runs,
)
from etl.db.types import UtcDateTime
from etl.resources import discover

Row = dict[str, Any]
#: The rows of each table, in an order of their own.
Contents = dict[str, list[Row]]

#: A log of what was done, and who did it last: how often a mirror was disturbed is in there.
LOGS = frozenset({"sync_runs", "sync_resource_runs", "leases"})
#: What says when and by which run this mirror did something, in all tables but the typed ones.
RUN, LATER = "run_id", "later"
#: Numbers that a database gives out, and an example of many: any of them will do.
_LEFT_OUT = {"quarantine": {"id"}, "drift": {"example"}}
#: A list's newest ids are those of its first page, so how many depends on the size of a page.
_REMEMBERED = 2
#: How many differences a person is shown.
_SHOWN = 5


@dataclass(frozen=True)
class Moment:
    """When two mirrors were still one: what came later has other times and numbers in each."""

    time: datetime
    run_id: int


BEGINNING = Moment(datetime.min.replace(tzinfo=UTC), 0)


def moment(engine: Engine) -> Moment:
    """Now, for a mirror at whatever schema."""
    with engine.connect() as connection:
        if not engine.dialect.has_table(connection, sync_runs.name):
            return BEGINNING
        run_id = connection.scalar(select(func.max(sync_runs.c.id)))
    return Moment(datetime.now(UTC), run_id or 0)


def contents(engine: Engine, since: Moment = BEGINNING) -> Contents:
    """Every row that two mirrors of one history have in common.

    Times and numbers of runs that are later than `since` are `later`, others stay as they are.
    """
    discover()
    typed = {table.name for one in discover().values() for table in one.tables}
    found: Contents = {}
    with engine.connect() as connection:
        for name, table in metadata.tables.items():
            if name in LOGS:
                continue
            rows = _rows(connection, table)
            if name not in typed:
                rows = [_timeless(table, row, since) for row in rows]
            found[name] = sorted(rows, key=_order)
    return found


def _rows(connection: Connection, table: Table) -> list[Row]:
    return [dict(line._mapping) for line in connection.execute(select(table))]  # noqa: SLF001


def _timeless(table: Table, row: Row, since: Moment) -> Row:
    made: Row = {}
    for column in table.columns:
        value = row[column.name]
        if column.name in _LEFT_OUT.get(table.name, ()):
            continue
        is_later = value is not None and (
            (isinstance(column.type, UtcDateTime) and value > since.time)
            or (column.name == RUN and value > since.run_id)
        )
        made[column.name] = LATER if is_later else value
    if table is frontiers and not row["parent_id"] and row["newest_ids"]:
        made["newest_ids"] = row["newest_ids"][:_REMEMBERED]
    return made


def _order(row: Row) -> str:
    return repr(list(row.values()))


def differences(found: Contents, expected: Contents) -> list[str]:
    """How two mirrors differ, a line for each table that does."""
    said = []
    for name in sorted(found.keys() | expected.keys()):
        ours, theirs = _keyed(name, found.get(name, [])), _keyed(name, expected.get(name, []))
        more, less = sorted(ours.keys() - theirs.keys()), sorted(theirs.keys() - ours.keys())
        changed = [
            f"{key}: {_changes(ours[key], theirs[key])}"
            for key in sorted(ours.keys() & theirs.keys())
            if ours[key] != theirs[key]
        ]
        parts = (("too many", more), ("missing", less), ("otherwise", changed))
        told = [f"{len(keys)} {what} ({'; '.join(keys[:_SHOWN])})" for what, keys in parts if keys]
        if told:
            said.append(f"{name}: {', '.join(told)}")
    return said


def rows_that_differ(found: Contents, expected: Contents) -> int:
    """How many rows of one mirror the other does not have as they are."""
    count = 0
    for name, rows in expected.items():
        ours = _keyed(name, found.get(name, []))
        count += sum(ours.get(key) != row for key, row in _keyed(name, rows).items())
    return count


def _keyed(name: str, rows: Sequence[Row]) -> dict[str, Row]:
    """Each row by its key; by its place, too, where it lost that or shares it with another."""
    columns = [column.name for column in metadata.tables[name].primary_key.columns]
    keyed: dict[str, Row] = {}
    for row in rows:
        key = [row[column] for column in columns if column in row] or list(row.values())
        text = " ".join(map(str, key))
        while text in keyed:
            text += " again"
        keyed[text] = row
    return keyed


def _changes(ours: Row, theirs: Row) -> str:
    return ", ".join(
        f"{column} {_short(ours[column])} instead of {_short(theirs[column])}"
        for column in ours
        if ours[column] != theirs[column]
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 160 else f"{text[:160]}…"


def without(found: Contents, leaving_out: Mapping[str, Collection[str]]) -> Contents:
    """The same without some columns; '*' for a whole table."""
    made: Contents = {}
    for name, rows in found.items():
        columns = leaving_out.get(name, ())
        if "*" in columns:
            continue
        kept = [{key: row[key] for key in row if key not in columns} for row in rows]
        made[name] = sorted(kept, key=_order)
    return made


def unsound(engine: Engine) -> list[str]:
    """What must never be, whatever happened before the last run: a line for each."""
    with engine.connect() as connection:
        said = [
            *_unfinished(connection),
            *_orphans(connection),
            *_shared_places(connection),
            *_broken_histories(connection),
            *views.differences(connection),
        ]
    found = migrate.current(engine)
    return [*said, *([] if found == migrate.head() else [f"the schema is at {found}"])]


def _unfinished(connection: Connection) -> Iterator[str]:
    for table in (sync_runs, sync_resource_runs):
        query = select(func.count()).where(table.c.status == "running")
        if count := connection.scalar(query.select_from(table)):
            yield f"{table.name}: {count} lines still say `running`"
    for line in connection.execute(select(leases)):
        if line.released_at is None:
            yield f"the lease is still held by {line.command}, pid {line.pid}"
    if "replays" in metadata.tables and _rows(connection, metadata.tables["replays"]):
        yield "a replay is still under way"


def _orphans(connection: Connection) -> Iterator[str]:
    """Rows without what they belong to, and lines of the ledger without their row."""
    ledger: dict[str, set[str]] = defaultdict(set)
    for line in connection.execute(select(records.c.resource, records.c.id)):
        ledger[line.resource].add(line.id)
    owners: dict[Table, set[str]] = defaultdict(set)
    columns: dict[Table, str] = {}
    for name, resource in discover().items():
        if resource.table is not None:
            ids = set(connection.scalars(select(resource.table.c.id)))
            if alone := ids - ledger[name]:
                yield f"{resource.table.name}: {len(alone)} rows without a record: {min(alone)}"
            if alone := ledger[name] - ids:
                yield f"records: {len(alone)} {name} without a row: {min(alone)}"
        for table, column in resource.owned.items():
            owners[table] |= ledger[name]
            columns[table] = column
    named = [(table.c[columns[table]], ids) for table, ids in owners.items()]
    lists = ("job_events", "job_checkpoints")
    named += [(metadata.tables[name].c.job_id, ledger["jobs"]) for name in lists]
    yield from _ownerless(connection, named)


def _ownerless(
    connection: Connection, named: Sequence[tuple[Column[Any], set[str]]]
) -> Iterator[str]:
    for column, owners in named:
        found = set(connection.scalars(select(column).distinct()))
        if alone := found - owners:
            whose = f"rows of {len(alone)} owners that are not there: {min(alone)}"
            yield f"{column.table.description}: {whose}"


def _shared_places(connection: Connection) -> Iterator[str]:
    table = metadata.tables["job_events"]
    places = (table.c.job_id, table.c.position)
    query = select(*places).group_by(*places).having(func.count() > 1)
    for line in connection.execute(query):
        yield f"job_events: two events of {line.job_id} stand at {line.position}"


def _broken_histories(connection: Connection) -> Iterator[str]:
    """Versions of a record are numbered from 1 on, each once."""
    numbers: dict[tuple[str, str], list[int]] = defaultdict(list)
    last: dict[tuple[str, str], int] = {}
    for line in connection.execute(
        select(records.c.resource, records.c.id, records.c.version, records.c.last_version)
    ):
        numbers[line.resource, line.id].append(line.version)
        last[line.resource, line.id] = line.last_version
    versions = select(record_versions.c.resource, record_versions.c.id, record_versions.c.version)
    for resource, identifier, version in connection.execute(versions):
        numbers[resource, identifier].append(version)
    for key, found in sorted(numbers.items()):
        if key not in last:
            yield f"record_versions: {key} has no record"
        elif sorted(found) != list(range(1, last[key] + 1)):
            yield f"record_versions: {key} has the versions {sorted(found)}, the last {last[key]}"


#: What a mirror that was cut while the world went on need not share with one that saw all of it:
#: which states it saw on the way, what was odd about them, and when.
SEEN_OTHERWISE: Mapping[str, Collection[str]] = {
    records.name: (
        *("version", "last_version", "changed_fields", "first_seen_at", "observed_at"),
        *("changed_at", "run_id", "missing_since"),
    ),
    record_versions.name: ("*",),
    drift.name: ("*",),
    child_progress.name: ("read_at", "failed_at", "absent_since"),
    quarantine.name: ("run_id", "first_seen_at", "last_seen_at", "resolved_at", "observed_at"),
}
