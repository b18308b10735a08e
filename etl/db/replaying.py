"""What a replay reads and writes beside rows: pages of the ledger, its own place, strays."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy import Row as SqlRow

from etl.batch import Refusal
from etl.db.ledger import chunks
from etl.db.sightings import Sightings
from etl.db.tables import drift, quarantine, records, replays, sync_runs
from etl.db.upsert import upsert
from etl.record import Record
from etl.resource import Resource

#: After every version that a record can have.
LAST_VERSION = 2**31 - 1
#: What a compressed payload becomes, roughly.
UNPACKED = 4
#: Characters of a place that are written with each batch; one that grew beyond stays as it was.
MOST_SAVED = 4 * 1024 * 1024
#: Owners whose stray rows go at once.
STRAYS_AT_ONCE = 500

_READ = (
    "resource",
    "id",
    "version",
    "id_space",
    "source",
    "provider",
    "project_id",
    "parent_id",
    "position",
    "payload",
    "payload_encoding",
    "observed_at",
    "changed_at",
    "run_id",
)


@dataclass(frozen=True)
class Place:
    """How far the replay of one resource came."""

    resource: str
    #: Of the program and the schema.
    version: str
    #: The run that began it.
    run_id: int
    started_at: datetime
    #: The resources that were to be replayed with it, in their order.
    asked: tuple[str, ...]
    #: Ids up to this one are done; '' for none.
    last_id: str = ""
    #: Records done so far, and those of them that could not be read, by source.
    records: int = 0
    unread: Mapping[str, int] = field(default_factory=dict)
    #: What was noted of the states that the ledger held before that run.
    seen: Sightings = field(default_factory=Sightings)


def places(connection: Connection) -> dict[str, Place]:
    """The replays that were cut, by resource."""
    found = {}
    for line in connection.execute(select(replays)):
        said = line.drift or {}
        found[line.resource] = Place(
            line.resource,
            line.version,
            line.run_id,
            line.started_at,
            tuple(said.get("asked", ())),
            line.last_id,
            said.get("records", 0),
            said.get("unread", {}),
            Sightings.of_json(said.get("seen", ())),
        )
    return found


def left(connection: Connection, place: Place) -> dict[str, int]:
    """How many records of a resource lie beyond a place, by source."""
    query = (
        select(records.c.source, func.count())
        .where(records.c.resource == place.resource, records.c.id > place.last_id)
        .group_by(records.c.source)
    )
    return {line[0]: line[1] for line in connection.execute(query)}


def save(connection: Connection, place: Place) -> None:
    """Write how far a replay came; where that is too much, it stays at an earlier place."""
    said = json.dumps(
        {
            "asked": place.asked,
            "records": place.records,
            "unread": place.unread,
            "seen": place.seen.as_json(),
        }
    )
    if len(said) > MOST_SAVED:
        return
    line = {
        "resource": place.resource,
        "version": place.version,
        "run_id": place.run_id,
        "started_at": place.started_at,
        "last_id": place.last_id,
        "drift": said,
    }
    connection.execute(upsert(connection.dialect.name, replays), line)


def forget(connection: Connection, resource: str) -> None:
    """This one came to its end."""
    connection.execute(delete(replays).where(replays.c.resource == resource))


def page(
    connection: Connection,
    table: Table,
    where: Sequence[ColumnElement[bool]],
    after: tuple[str, int],
    most: int,
    most_bytes: int,
) -> tuple[Sequence[SqlRow[Any]], bool]:
    """The next lines of `records` or `record_versions`, and whether they are the last.

    In the order of their ids and versions, at least one where there is one. Their sizes are asked
    for first, so that no more payloads come than fit.
    """
    column = table.c
    size = func.length if connection.dialect.name == "sqlite" else func.octet_length
    last_id, last_version = after
    beyond = and_(column.id >= last_id, or_(column.id > last_id, column.version > last_version))
    keys = [one for one in table.primary_key.columns if one.name != "resource"]

    def ordered(query: Select[Any]) -> Select[Any]:
        return query.where(*where, beyond).order_by(*keys)

    sizes = select(column.id, column.version, size(column.payload), column.payload_encoding)
    found = connection.execute(ordered(sizes).limit(most)).all()
    taken = total = 0
    for _, _, length, encoding in found:
        total += length * (UNPACKED if encoding == "zlib+base64" else 1)
        if taken and total > most_bytes:
            break
        taken += 1
    if not taken:
        return [], True
    end_id, end_version = found[taken - 1][:2]
    until = and_(column.id <= end_id, or_(column.id < end_id, column.version <= end_version))
    query = ordered(select(*(column[name] for name in _READ))).where(until)
    is_last = taken == len(found) < most
    return connection.execute(query).all(), is_last


def readable_again(
    connection: Connection, resource: str, read: Iterable[Record], now: datetime
) -> None:
    """Close the lines in which earlier replays refused just these states."""
    replayed = select(sync_runs.c.id).where(sync_runs.c.mode == "replay")
    lines = select(quarantine.c.id, quarantine.c.record_id, quarantine.c.digest).where(
        quarantine.c.resource == resource,
        quarantine.c.resolved_at.is_(None),
        quarantine.c.run_id.in_(replayed),
    )
    refused: dict[str, list[tuple[int, str]]] = {}
    for number, record_id, digest in connection.execute(lines):
        refused.setdefault(record_id, []).append((number, digest))
    found = []
    for record in read:
        if record.id in refused:
            this = Refusal(record.payload, "", record.id, record.arrival).digest
            found += [number for number, digest in refused[record.id] if digest == this]
    for some in chunks(sorted(found)):
        connection.execute(
            update(quarantine).where(quarantine.c.id.in_(some)).values(resolved_at=now)
        )


def remove_strays(
    resource: Resource, table: Table, owner: str, connection: Connection, after: str
) -> tuple[str | None, int]:
    """Delete rows of a resource that belong to no record of it, of some owners.

    The last of these owners, None where there are no more, and how many rows went.
    """
    column = table.c[owner]
    record = select(records.c.id).where(records.c.resource == resource.name, records.c.id == column)
    stray = ~record.correlate(table).exists()
    return _remove(connection, table, column, (resource.its_own(table), stray), after)


def remove_unmarked(
    table: Table, owners: Sequence[Resource], connection: Connection, after: str
) -> tuple[str | None, int]:
    """The same for rows of a shared table that none of those who share it calls its own."""
    column = table.c[owners[0].owned[table]]
    stray = and_(*(~one.its_own(table) for one in owners))
    return _remove(connection, table, column, (stray,), after)


def _remove(
    connection: Connection,
    table: Table,
    column: ColumnElement[str],
    where: Sequence[ColumnElement[bool]],
    after: str,
) -> tuple[str | None, int]:
    query = select(column).where(*where, column > after).order_by(column).distinct()
    owners = connection.scalars(query.limit(STRAYS_AT_ONCE)).all()
    if not owners:
        return None, 0
    # The condition again: in a shared table another resource's rows may have an owner of this name.
    gone = connection.execute(delete(table).where(column.in_(owners), *where)).rowcount
    return (owners[-1] if len(owners) == STRAYS_AT_ONCE else None), gone


def replace_drift(
    connection: Connection, resource: str, seen: Sightings
) -> list[tuple[str, str, str]]:
    """Write all that is noted of a resource; (path, kind, example) of what was not known before."""
    of_it = drift.c.resource == resource
    known = {
        tuple(line) for line in connection.execute(select(drift.c.path, drift.c.kind).where(of_it))
    }
    connection.execute(delete(drift).where(of_it))
    lines = [
        {
            "resource": resource,
            "path": path,
            "kind": kind,
            "example": one.example,
            "first_seen_at": one.first.changed_at,
            "last_seen_at": one.last_at,
            "occurrences": one.times,
        }
        for (path, kind), one in sorted(seen.items())
    ]
    for some in chunks(lines):
        connection.execute(insert(drift), some)
    return [(*at, one.example) for at, one in sorted(seen.items()) if at not in known]
