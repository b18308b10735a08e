"""Quarantine: records that could not become rows, with their reason and their text."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Row, func, insert, select, update

from etl.batch import Refusal
from etl.db import again
from etl.db.ledger import chunks
from etl.db.tables import ID_LENGTH, quarantine, sync_runs
from etl.fields import clean
from etl.record import pack, unpack
from etl.resource import Resource

#: Parents with something in quarantine that are asked again at once: all of them in one statement.
MOST_DOUBTED = 5_000


def seen_before(
    connection: Connection, resource: str, source: str, digests: Collection[str]
) -> set[str]:
    """Which of these refusals have an open line already."""
    known: set[str] = set()
    for some in chunks(sorted(set(digests))):
        query = select(quarantine.c.digest).where(
            quarantine.c.resource == resource,
            quarantine.c.source == source,
            quarantine.c.resolved_at.is_(None),
            quarantine.c.digest.in_(some),
        )
        known.update(connection.scalars(query))
    return known


def refused_lately(
    connection: Connection,
    resource: str,
    source: str,
    refused: Sequence[Refusal],
    since_run: int,
) -> list[Refusal]:
    """Those of these that wait in a line which this run, or one since the given one, began."""
    by_digest = {one.digest: one for one in refused}
    found: list[Refusal] = []
    for some in chunks(sorted(by_digest)):
        query = select(quarantine.c.digest).where(
            quarantine.c.resource == resource,
            quarantine.c.source == source,
            quarantine.c.resolved_at.is_(None),
            quarantine.c.digest.in_(some),
            quarantine.c.run_id >= since_run,
        )
        found += [by_digest[digest] for digest in connection.scalars(query)]
    return found


def put(
    connection: Connection,
    resource: str,
    source: str,
    refused: Sequence[Refusal],
    run_id: int,
    now: datetime,
    retried: Collection[str] = (),
) -> list[Refusal]:
    """Write what was refused; those that are new. One seen before keeps its line and its number.

    `retried`: digests of texts that nobody sent again: their lines only get today's reason.
    """
    seen: dict[str, Refusal] = {one.digest: one for one in refused}
    waiting = (
        quarantine.c.resource == resource,
        quarantine.c.source == source,
        quarantine.c.resolved_at.is_(None),
    )
    known = seen_before(connection, resource, source, seen)
    for some in chunks(sorted(known.difference(retried))):
        connection.execute(
            update(quarantine)
            .where(*waiting, quarantine.c.digest.in_(some))
            .values(last_seen_at=now)
        )
    for digest in sorted(known.intersection(retried)):
        line = (*waiting, quarantine.c.digest == digest)
        said = clean(seen[digest].reason)
        before = connection.scalar(select(quarantine.c.reason).where(*line)) or ""
        if not before.endswith(said):  # an import's begins with the place in the file
            connection.execute(update(quarantine).where(*line).values(reason=said))
    new = [one for digest, one in seen.items() if digest not in known]
    for one in new:
        payload, encoding = pack(one.payload)
        came = one.arrival
        connection.execute(
            insert(quarantine).values(
                run_id=run_id,
                source=source,
                resource=resource,
                record_id=_fitting(one.record_id),
                reason=clean(one.reason),
                payload=payload,
                payload_encoding=encoding,
                digest=one.digest,
                first_seen_at=now,
                last_seen_at=now,
                resolved_at=None,
                id_space=came and came.origin.id_space,
                provider=came and came.origin.provider,
                project_id=came and came.origin.project_id,
                parent_id=_fitting(came.parent_id if came else None),
                position=came and came.position,
                observed_at=came and came.observed_at,
                is_whole=came is not None and one.is_whole,
            )
        )
    return new


def _fitting(identifier: str | None) -> str | None:
    """An id as a column takes it: what a record says of its parent may be anything."""
    return None if identifier is None else clean(identifier)[:ID_LENGTH]


def resolve(
    connection: Connection,
    resource: str,
    source: str,
    ids: Collection[str],
    new: Collection[str],
    refused: Sequence[Refusal],
    now: datetime,
) -> None:
    """Close the lines of records that this source has since sent in good shape.

    `new`: those of them that were not in the mirror like this before. What a replay could not read
    is in the mirror, so that to be sent once more says nothing.
    """
    still = {one.digest for one in refused}
    _close(connection, resource, source, sorted(ids), still, now, _not_of("replay"))
    _close(connection, resource, source, sorted(new), still, now)


def _not_of(*modes: str) -> ColumnElement[bool]:
    return quarantine.c.run_id.not_in(select(sync_runs.c.id).where(sync_runs.c.mode.in_(modes)))


def _close(
    connection: Connection,
    resource: str,
    source: str,
    ids: Sequence[str],
    still: Collection[str],
    now: datetime,
    *where: ColumnElement[bool],
) -> None:
    for some in chunks(ids):
        connection.execute(
            update(quarantine)
            .where(
                *where,
                quarantine.c.resource == resource,
                quarantine.c.source == source,
                quarantine.c.resolved_at.is_(None),
                quarantine.c.record_id.in_(some),
                quarantine.c.digest.not_in(still),
            )
            .values(resolved_at=now)
        )


def resolve_texts(
    connection: Connection, resource: str, source: str, digests: Collection[str], now: datetime
) -> None:
    """Close the lines of these texts, which can be read now."""
    for some in chunks(sorted(digests)):
        connection.execute(
            update(quarantine)
            .where(
                quarantine.c.resource == resource,
                quarantine.c.source == source,
                quarantine.c.resolved_at.is_(None),
                quarantine.c.digest.in_(some),
            )
            .values(resolved_at=now)
        )


def resolve_unsent(
    connection: Connection, resource: str, source: str, began: Mapping[str, datetime], now: datetime
) -> None:
    """Close the lines of what lists no longer hold that were read from end to end.

    `began`: when the read of each list began, by its parent, '' for one without. What an import or
    a replay could not read was in no list.
    """
    waiting = (
        quarantine.c.resource == resource,
        quarantine.c.source == source,
        quarantine.c.resolved_at.is_(None),
    )
    parent = func.coalesce(quarantine.c.parent_id, "")
    open_parents = set(connection.scalars(select(parent).where(*waiting).distinct()))
    for one in sorted(open_parents & began.keys()):
        connection.execute(
            update(quarantine)
            .where(
                *waiting,
                parent == one,
                quarantine.c.last_seen_at < began[one],
                _not_of("import", "replay"),
            )
            .values(resolved_at=now)
        )


def doubted_parents(engine: Engine, resource: Resource, source: str) -> frozenset[str]:
    """The parents whose answers hold what lies in quarantine. Raises StoreError."""
    is_list = resource.parents is not None and resource.parents.reads in ("list", "growing list")
    parent = quarantine.c.parent_id if is_list else quarantine.c.record_id
    query = (
        select(parent)
        .where(
            quarantine.c.resource == resource.name,
            quarantine.c.source == source,
            quarantine.c.resolved_at.is_(None),
            parent.is_not(None),
        )
        .order_by(parent)
        .distinct()
        .limit(MOST_DOUBTED)
    )
    return again.read(engine, lambda connection: frozenset(connection.scalars(query)))


def lines(engine: Engine, *where: ColumnElement[bool]) -> list[Row[Any]]:
    """Lines of quarantine without their texts, in the order of their numbers. Raises StoreError.

    Each with the `mode` of the run that put it there.
    """
    said = [column for column in quarantine.columns if column.name != "payload"]
    length = func.length(quarantine.c.payload).label("length")
    from_run = quarantine.outerjoin(sync_runs, sync_runs.c.id == quarantine.c.run_id)
    query = select(*said, length, sync_runs.c.mode).select_from(from_run)
    query = query.where(*where).order_by(quarantine.c.id)
    return again.read(engine, lambda connection: list(connection.execute(query)))


def text_of(engine: Engine, line: Row[Any]) -> bytes:
    """The text of a line. Raises StoreError."""
    query = select(quarantine.c.payload).where(quarantine.c.id == line.id)
    packed = again.read(engine, lambda connection: connection.scalar(query))
    return unpack(packed or "", line.payload_encoding)


def waiting(connection: Connection) -> int:
    """How many lines are open."""
    query = select(func.count()).where(quarantine.c.resolved_at.is_(None))
    return connection.scalar(query) or 0
