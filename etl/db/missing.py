"""Records that a full listing came without: marked, never deleted."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine, Select, func, select, update

from etl.db import again
from etl.db.ledger import chunks
from etl.db.tables import records
from etl.resource import Resource

#: Ids looked up at once.
AT_ONCE = 10_000


def stored(engine: Engine, resource: Resource, source: str) -> int:
    """How many records of a source there are that are not marked. Raises StoreError."""
    query = select(func.count()).where(
        records.c.resource == resource.name,
        records.c.source == source,
        records.c.missing_since.is_(None),
    )
    return again.read(engine, lambda connection: connection.scalar(query)) or 0


def ids(engine: Engine, resource: Resource, source: str) -> Iterator[str]:
    """The ids of a source's records, in order, whether marked or not. Raises StoreError."""
    table = resource.table
    if table is None or "source" not in table.c:
        table = records
    last = ""
    while True:
        query = select(table.c.id).where(table.c.source == source, table.c.id > last)
        if table is records:
            query = query.where(records.c.resource == resource.name)
        some = query.order_by(table.c.id).limit(AT_ONCE)
        found = again.read(engine, partial(_all, some))
        yield from found
        if len(found) < AT_ONCE:
            return
        last = found[-1]


def unmarked(
    engine: Engine, resource: Resource, source: str, wanted: Collection[str], before: datetime
) -> list[str]:
    """Which of these the mirror had before that time, and are not marked. Raises StoreError."""
    found: list[str] = []
    for some in chunks(sorted(wanted)):
        query = select(records.c.id).where(
            records.c.resource == resource.name,
            records.c.source == source,
            records.c.id.in_(some),
            records.c.first_seen_at < before,
            records.c.missing_since.is_(None),
        )
        found += again.read(engine, partial(_all, query))
    return sorted(found)


def _all(query: Select[Any], connection: Connection) -> Sequence[str]:
    return connection.scalars(query).all()


def mark(connection: Connection, resource: str, wanted: Collection[str], now: datetime) -> int:
    """Mark these; how many were not yet."""
    count = 0
    for some in chunks(sorted(wanted)):
        result = connection.execute(
            update(records)
            .where(
                records.c.resource == resource,
                records.c.id.in_(some),
                records.c.missing_since.is_(None),
            )
            .values(missing_since=now)
        )
        count += result.rowcount
    return count
