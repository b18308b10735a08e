"""How far a mirror came that is being copied into: one line a table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, delete, func, insert, inspect, select, update

from etl.db.again import read
from etl.db.tables import copies
from etl.errors import UsageError

NOT_WHOLE = (
    "this mirror is a copy that has not come to its end. Give the same `ftmirror copy` or "
    "`ftmirror import` again, which goes on where it was cut; if the original is gone, "
    "`ftmirror copy --as-it-stands` makes a mirror of what came"
)


@dataclass(frozen=True)
class Place:
    """How far one table came."""

    #: The mirror that it is copied from.
    origin: str
    #: What the original was like then, in its own words.
    state: str
    #: The key of the last row that is there, in the words of `etl.moving.values`; None for none.
    last_key: tuple[Any, ...] | None
    #: How many rows up to that one.
    rows: int
    #: When the whole mirror was found equal to its original; None before, and as soon as a later
    #: copy has changed a row of any table.
    finished_at: datetime | None


def places(connection: Connection) -> dict[str, Place]:
    """The tables that were copied or are being copied into this mirror, of whatever schema."""
    if not inspect(connection).has_table(copies.name):
        return {}
    return {
        line.table_name: Place(
            line.origin,
            line.state,
            None if line.last_key is None else tuple(line.last_key),
            line.copied_rows,
            line.finished_at,
        )
        for line in connection.execute(select(copies))
    }


def whole_since(places: Mapping[str, Place]) -> datetime | None:
    """When the whole mirror was found equal to its original; None for one that is not whole."""
    ends = [place.finished_at for place in places.values() if place.finished_at is not None]
    return min(ends) if ends and len(ends) == len(places) else None


def unsure(places: Mapping[str, Place], tables: Sequence[str]) -> list[str]:
    """Which of these a cut copy is not known to have come to the end of.

    `tables`: in the order in which they are copied, each to its end before the next begins.
    """
    come_to = [name in places and places[name].last_key is not None for name in tables]
    last = max((number for number, is_begun in enumerate(come_to) if is_begun), default=0)
    return list(tables[last:])


def begin(
    connection: Connection,
    tables: Iterable[str],
    origin: str,
    state: str,
    finished_at: datetime | None,
) -> None:
    """Note that these tables are to be copied, each from its first row.

    `finished_at`: since when the mirror is whole, which it stays until a row of it changes.
    """
    connection.execute(delete(copies))
    line = {"origin": origin, "state": state, "copied_rows": 0, "finished_at": finished_at}
    connection.execute(insert(copies), [{"table_name": name, **line} for name in tables])


def go_on(connection: Connection, state: str) -> None:
    """Note that the original, as it is now, is what the tables are being copied from."""
    connection.execute(update(copies).values(state=state))


def take_back(connection: Connection) -> None:
    """Note that the mirror is not whole, in the transaction that makes it so."""
    connection.execute(update(copies).values(finished_at=None))


def advance(connection: Connection, table: str, key: tuple[Any, ...], rows: int) -> None:
    """Note how far a table came, in the transaction that brought it there."""
    connection.execute(
        update(copies)
        .where(copies.c.table_name == table)
        .values(last_key=json.dumps(key), copied_rows=rows)
    )


def begin_anew(connection: Connection) -> None:
    """Note that all is to be held against the original once more, and the mirror not whole."""
    nothing = {"last_key": None, "copied_rows": 0, "finished_at": None}
    connection.execute(update(copies).values(nothing))


def finish(connection: Connection, now: datetime) -> None:
    """Note that the whole mirror is equal to its original."""
    connection.execute(update(copies).values(finished_at=now))


def unfinished(engine: Engine) -> int:
    """How many tables of this mirror are not yet copied and found equal. Raises StoreError."""

    def look(connection: Connection) -> int:
        if not inspect(connection).has_table(copies.name):
            return 0
        query = select(func.count()).where(copies.c.finished_at.is_(None))
        return connection.scalar(query.select_from(copies)) or 0

    return read(engine, look)


def require_whole(engine: Engine) -> None:
    """Raise UsageError for a mirror that is being copied into, and has not all of it yet."""
    if unfinished(engine):
        raise UsageError(NOT_WHOLE)
