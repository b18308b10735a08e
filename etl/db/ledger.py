"""The ledger's two tables, as `etl.batch` sees them: what is known, and what it becomes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar, cast

from msgspec.structs import replace
from sqlalchemy import Connection, bindparam, insert, select, update
from sqlalchemy import Row as SqlRow

from etl.batch import Batch, Known, Line, Standing
from etl.db import bulk
from etl.db.tables import (
    STANDING_INDEX,
    WITH_STANDING_INDEX,
    frontiers,
    record_versions,
    records,
)
from etl.db.types import utc_text
from etl.history import changes
from etl.record import Origin, Record, pack, unpack

#: Ids in one IN list: within every database's limit on parameters.
IDS_AT_ONCE = 500
#: Lines of the ledger made at once: each holds its payload a second time, as text.
LINES_AT_ONCE = 2000

_Item = TypeVar("_Item")

_KEY = ("resource", "id", "version")
_SAID = (
    "id_space",
    "source",
    "provider",
    "project_id",
    "parent_id",
    "position",
    "payload",
    "payload_encoding",
    "digest",
    "canonical_digest",
    "status",
    "changed_fields",
    "observed_at",
    "changed_at",
    "run_id",
)

_STANDING = ("id", "digest", "source", "id_space", "missing_since", "position")
_KNOWN = (
    "id",
    "version",
    "last_version",
    "source",
    "provider",
    "id_space",
    "project_id",
    "digest",
    "canonical_digest",
    "missing_since",
    "position",
)
#: What an INSERT of a ledger line and an UPDATE of one have in common, by column.
_SHARED = [column.name for column in record_versions.columns]


# Lines are made by place: what they say and what the tables hold must stand in one order.
if records.columns.keys() != [*_KEY, "last_version", *_SAID, "first_seen_at", "missing_since"]:
    raise AssertionError("records has other columns than the ledger writes")
if record_versions.columns.keys() != [*_KEY, *_SAID]:
    raise AssertionError("record_versions has other columns than the ledger writes")


def chunks(items: Sequence[_Item], size: int = IDS_AT_ONCE) -> Iterator[Sequence[_Item]]:
    """The items in runs of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def standing(connection: Connection, resource: str, ids: Collection[str]) -> dict[str, Standing]:
    """What decides whether these ids need a further look, one query for a few hundred of them."""
    found: dict[str, Standing] = {}
    # Left to itself, the database takes the primary key.
    index = STANDING_INDEX if connection.dialect.name in WITH_STANDING_INDEX else None
    for some in chunks(sorted(set(ids))):
        lines = bulk.select_by_id(connection, records, _STANDING, resource, some, index)
        found |= {line[0]: cast("Standing", line) for line in lines}
    return found


def look_up(connection: Connection, resource: str, ids: Collection[str]) -> dict[str, Known]:
    """What the ledger holds of these ids, but for the states: one query for a few hundred."""
    known: dict[str, Known] = {}
    origins: dict[tuple[str, ...], Origin] = {}
    for some in chunks(sorted(set(ids))):
        for line in bulk.select_by_id(connection, records, _KNOWN, resource, some):
            identifier, version, last_version, *came, digest, canonical, missing, place = line
            origin = origins.get(tuple(came))
            if origin is None:
                origin = origins[tuple(came)] = Origin(*came)
            known[identifier] = Known(
                version, last_version, origin, digest, canonical, missing, place
            )
    return known


def look_up_states(
    connection: Connection, resource: str, known: dict[str, Known]
) -> dict[str, Known]:
    """The same with whole states: an import asks which of two is the later one."""
    listed = _listed_at(connection, resource)
    found = dict(known)
    for some in chunks(sorted(known)):
        query = select(records).where(records.c.resource == resource, records.c.id.in_(some))
        for line in connection.execute(query):
            shown = None if line.missing_since else listed.get(line.source)
            if shown is not None and shown < line.changed_at:
                shown = None  # this state came after that listing began
            found[line.id] = replace(found[line.id], current=state(line), confirmed_at=shown)
        digests: dict[str, set[str]] = {}
        passed = select(record_versions.c.id, record_versions.c.canonical_digest).where(
            record_versions.c.resource == resource, record_versions.c.id.in_(some)
        )
        for identifier, digest in connection.execute(passed):
            digests.setdefault(identifier, set()).add(digest)
        for identifier, seen in digests.items():
            found[identifier] = replace(found[identifier], superseded=frozenset(seen))
    return found


def state(line: SqlRow[Any]) -> Record:
    """The record that a line of the ledger holds."""
    return Record(
        resource=line.resource,
        id=line.id,
        payload=unpack(line.payload, line.payload_encoding),
        origin=_origin(line),
        parent_id=line.parent_id,
        position=line.position,
        observed_at=line.observed_at,
    )


def write(connection: Connection, batch: Batch, run_id: int, now: datetime) -> None:
    """Write what a batch decided, the superseded lines into the versions first."""
    name = batch.resource.name
    changed = _changed_fields(connection, batch)
    for some in chunks([line.record.id for line in batch.updated]):
        old = select(*[records.c[column] for column in _SHARED]).where(
            records.c.resource == name, records.c.id.in_(some)
        )
        connection.execute(insert(record_versions).from_select(_SHARED, old))
    written = utc_text(now)
    passed = [_version(one, run_id, written, changed) for one in batch.versions]
    bulk.insert_rows(connection, record_versions, passed)
    for lines in chunks(batch.created, LINES_AT_ONCE):
        created = [_current(one, run_id, written, changed) for one in lines]
        bulk.insert_rows(connection, records, created)
    for lines in chunks(batch.updated, LINES_AT_ONCE):
        updated = [_current(one, run_id, written, changed) for one in lines]
        bulk.upsert_rows(connection, records, updated, keep=("first_seen_at",))
    this = (records.c.resource == name, records.c.id == bindparam("this"))
    _many(
        connection,
        update(records).where(*this).values(digest=bindparam("seen"), missing_since=None),
        ({"this": touch.id, "seen": touch.digest} for touch in batch.touched),
    )
    _many(
        connection,
        update(records).where(*this).values(position=bindparam("place")),
        ({"this": one.id, "place": one.position} for one in batch.moved),
    )
    _many(
        connection,
        update(records).where(*this).values(last_version=bindparam("highest")),
        ({"this": one, "highest": number} for one, number in batch.renumbered.items()),
    )


def _many(connection: Connection, statement: Any, rows: Iterable[dict[str, Any]]) -> None:
    if values := list(rows):
        connection.execute(statement, values)


def _changed_fields(connection: Connection, batch: Batch) -> dict[tuple[str, int], str]:
    """What each state changed, by id and version; not of a record's first, nor of an older one."""
    lines = [*batch.versions, *batch.created, *batch.updated]
    told = [line for line in lines if line.version > 1 and not line.is_older]
    stored: dict[str, Record] = {}
    for some in chunks(sorted({line.record.id for line in told if line.before is None})):
        query = select(records).where(
            records.c.resource == batch.resource.name, records.c.id.in_(some)
        )
        stored |= {line.id: state(line) for line in connection.execute(query)}
    return {
        (line.record.id, line.version): changes(line.before or stored[line.record.id], line.record)
        for line in told
    }


def _current(
    line: Line, run_id: int, now: str, changed: Mapping[tuple[str, int], str]
) -> tuple[Any, ...]:
    """A line of `records`."""
    key, said = _state(line, run_id, now, changed)
    missing_since = line.missing_since and utc_text(line.missing_since)
    return (*key, line.last_version, *said, now, missing_since)


def _version(
    line: Line, run_id: int, now: str, changed: Mapping[tuple[str, int], str]
) -> tuple[Any, ...]:
    """A line of `record_versions`."""
    key, said = _state(line, run_id, now, changed)
    return (*key, *said)


def _state(
    line: Line, run_id: int, now: str, changed: Mapping[tuple[str, int], str]
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """What both tables say of a state: `_KEY` and `_SAID`."""
    record = line.record
    origin = record.origin
    payload, encoding = pack(record.payload)
    said = (
        origin.id_space,
        origin.source,
        origin.provider,
        origin.project_id,
        record.parent_id,
        record.position,
        payload,
        encoding,
        record.digest,
        record.canonical_digest,
        line.status,
        changed.get((record.id, line.version)),
        record.observed_at and _utc_text(record.observed_at),
        now,
        run_id,
    )
    return (record.resource, record.id, line.version), said


#: A page of records was observed at one time.
_utc_text = lru_cache(maxsize=64)(utc_text)


def _origin(line: SqlRow[Any]) -> Origin:
    return Origin(line.source, line.provider, line.id_space, line.project_id)


def _listed_at(connection: Connection, resource: str) -> dict[str, datetime]:
    """When each source's last listing that reached its end had begun."""
    query = select(frontiers.c.source, frontiers.c.listed_at).where(
        frontiers.c.resource == resource,
        frontiers.c.parent_id == "",
        frontiers.c.listed_at.is_not(None),
    )
    return {line.source: line.listed_at for line in connection.execute(query)}
