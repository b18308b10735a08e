"""Drift: fields and values the API sent that this version does not know, counted by kind."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from etl.db.ledger import chunks
from etl.db.tables import ID_LENGTH, drift
from etl.fields import clean


def put(
    connection: Connection,
    resource: str,
    seen: Mapping[tuple[str, str], tuple[int, str]],
    now: datetime,
) -> list[tuple[str, str, str]]:
    """Count what was seen, by (path, kind); (path, kind, example) of what was never seen before."""
    totals: dict[tuple[str, str], tuple[int, str]] = {}
    for (path, kind), (times, example) in seen.items():
        # A path may hold a name that a stranger chose: made storable, and short enough for a key.
        at = clean(path)[:ID_LENGTH], kind
        before, first = totals.get(at, (0, example))
        totals[at] = before + times, first
    known: set[tuple[str, str]] = set()
    for some in chunks(sorted({path for path, _ in totals})):
        query = select(drift.c.path, drift.c.kind).where(
            drift.c.resource == resource, drift.c.path.in_(some)
        )
        known.update((path, kind) for path, kind in connection.execute(query))
    again = [
        {"this_path": path, "this_kind": kind, "times": totals[path, kind][0]}
        for path, kind in totals
        if (path, kind) in known
    ]
    if again:
        connection.execute(
            update(drift)
            .where(
                drift.c.resource == resource,
                drift.c.path == bindparam("this_path"),
                drift.c.kind == bindparam("this_kind"),
            )
            .values(occurrences=drift.c.occurrences + bindparam("times"), last_seen_at=now),
            again,
        )
    new = [at for at in totals if at not in known]
    if new:
        connection.execute(
            insert(drift),
            [
                {
                    "resource": resource,
                    "path": path,
                    "kind": kind,
                    "example": totals[path, kind][1],
                    "first_seen_at": now,
                    "last_seen_at": now,
                    "occurrences": totals[path, kind][0],
                }
                for path, kind in new
            ],
        )
    return [(path, kind, totals[path, kind][1]) for path, kind in new]


def listed(connection: Connection, resources: Collection[str]) -> list[dict[str, Any]]:
    """All that was noted of these resources, by resource, path and kind."""
    query = (
        select(drift)
        .where(drift.c.resource.in_(sorted(resources)))
        .order_by(drift.c.resource, drift.c.path, drift.c.kind)
    )
    return [dict(line._mapping) for line in connection.execute(query)]  # noqa: SLF001 - a public name
