"""Quarantine: records that could not become rows, with their reason and their text."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import Connection, func, insert, select, update

from etl.batch import Refusal
from etl.db.ledger import chunks
from etl.db.tables import ID_LENGTH, quarantine
from etl.fields import clean
from etl.record import pack


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


def put(
    connection: Connection,
    resource: str,
    source: str,
    refused: Sequence[Refusal],
    run_id: int,
    now: datetime,
) -> list[Refusal]:
    """Write what was refused; those that are new. One seen before keeps its line and its number."""
    seen: dict[str, Refusal] = {one.digest: one for one in refused}
    waiting = (
        quarantine.c.resource == resource,
        quarantine.c.source == source,
        quarantine.c.resolved_at.is_(None),
    )
    known = seen_before(connection, resource, source, seen)
    for some in chunks(sorted(known)):
        connection.execute(
            update(quarantine)
            .where(*waiting, quarantine.c.digest.in_(some))
            .values(last_seen_at=now)
        )
    new = [one for digest, one in seen.items() if digest not in known]
    for one in new:
        payload, encoding = pack(one.payload)
        connection.execute(
            insert(quarantine).values(
                run_id=run_id,
                source=source,
                resource=resource,
                record_id=None if one.record_id is None else clean(one.record_id)[:ID_LENGTH],
                reason=clean(one.reason),
                payload=payload,
                payload_encoding=encoding,
                digest=one.digest,
                first_seen_at=now,
                last_seen_at=now,
                resolved_at=None,
            )
        )
    return new


def resolve(
    connection: Connection,
    resource: str,
    source: str,
    ids: Collection[str],
    refused: Sequence[Refusal],
    now: datetime,
) -> None:
    """Close the lines of records that this source has since sent in good shape."""
    still = {one.digest for one in refused}
    for some in chunks(sorted(ids)):
        connection.execute(
            update(quarantine)
            .where(
                quarantine.c.resource == resource,
                quarantine.c.source == source,
                quarantine.c.resolved_at.is_(None),
                quarantine.c.record_id.in_(some),
                quarantine.c.digest.not_in(still),
            )
            .values(resolved_at=now)
        )


def waiting(connection: Connection) -> int:
    """How many lines are open."""
    query = select(func.count()).where(quarantine.c.resolved_at.is_(None))
    return connection.scalar(query) or 0
