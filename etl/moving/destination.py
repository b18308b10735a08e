"""The mirror that is copied into: what it may hold before, and one step of the way."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Engine,
    Integer,
    bindparam,
    delete,
    func,
    inspect,
    literal,
    select,
    text,
)

from etl.db import copies
from etl.db.again import again, read
from etl.db.bulk import insert_rows, upsert_rows
from etl.db.copies import Place
from etl.db.engine import RowsRefused, database_errors, writing
from etl.db.lease import Lease
from etl.db.store import utc_now
from etl.db.tables import sync_runs
from etl.errors import StoreError, UsageError
from etl.moving.reading import Mirror, Original, has_run
from etl.moving.values import BOOK, Key, Row, Shape, shape, shapes

#: Room in a statement for what is not the values of a row.
_ROOM = 64 * 1024
_MYSQL = ("mariadb", "mysql")
_FULL = (
    "the destination holds a mirror already. Name an empty database; or, if what it holds may go, "
    "take its tables away with `ftmirror db downgrade base`"
)


class Destination(Mirror):
    """The mirror that is copied into, under its lease."""

    def __init__(self, engine: Engine, lease: Lease) -> None:
        super().__init__(engine)
        self._lease = lease
        self._whole_since: datetime | None = None
        self._most = self.look(_packet) if engine.dialect.name in _MYSQL else None

    def admit(self, original: Original) -> bool:
        """Note what is to be copied from where, and whether an earlier copy goes on.

        A mirror that is whole stays so until `step` changes a row of it.
        Raises UsageError for a mirror of its own, and for a copy that has runs of its own since.
        """
        before = self.look(copies.places)
        self._whole_since = copies.whole_since(before)
        places = before if self.look(lambda one: _is_ours(one, original.identity)) else {}
        self._refuse_own_runs(original)
        names = [one.name for one in shapes()]
        is_as_before = set(places) == set(names) and all(
            original.is_as(place.state) for place in places.values()
        )

        def note(connection: Connection) -> None:
            if is_as_before:
                copies.go_on(connection, original.state)
            else:
                since = self._whole_since
                copies.begin(connection, names, original.identity, original.state, since)

        self._write(note)
        return bool(places)

    def _refuse_own_runs(self, original: Original) -> None:
        newest = self.look(lambda one: one.scalar(select(func.max(sync_runs.c.id))))
        if newest is None:
            return
        row = next(self.pages(shape(sync_runs.name), (newest - 1,)))[0]
        if not has_run(original, row):
            raise UsageError(
                f"the destination has runs of its own since it was copied (run {newest}), which "
                "the original does not know: to copy again would undo them. Name an empty database"
            )

    def places(self) -> dict[str, Place]:
        """How far each table came."""
        return self.look(copies.places)

    def step(
        self, shape: Shape, rows: Sequence[Row], there: Sequence[Row], end: Key, count: int
    ) -> None:
        """Make the rows up to a key those of the original, and note it: one transaction.

        `there`: the rows that the table has in that part now. `count`: how many it will have up to
        `end`. Raises RowsRefused where the database refuses one, with its key.
        """
        known = {shape.key(row): row for row in there}
        new = [row for row in rows if shape.key(row) not in known]
        changed = [row for row in rows if known.get(shape.key(row), row) != row]
        gone = known.keys() - {shape.key(row) for row in rows}
        self._require_room(shape, [*new, *changed])

        def write(connection: Connection) -> None:
            _remove(connection, shape, gone)
            upsert_rows(connection, shape.table, shape.written(changed))
            insert_rows(connection, shape.table, shape.written(new))
            if self._whole_since is not None and (gone or changed or new):
                copies.take_back(connection)
            copies.advance(connection, shape.name, end, count)

        def is_written(connection: Connection) -> bool:
            place = copies.places(connection).get(shape.name)
            return place is not None and place.last_key == end and place.rows == count

        try:
            self._write(write, is_written)
        except RowsRefused as error:
            self._name_refused(shape, new or changed, error)
        if gone or changed or new:
            self._whole_since = None

    def finish(self, *, is_whole: bool) -> None:
        """Note the end, or that all must be held against the original once more."""

        def write(connection: Connection) -> None:
            if is_whole:
                copies.finish(connection, utc_now())
            else:
                copies.begin_anew(connection)
            if connection.dialect.name == "postgresql":
                _set_sequences(connection)

        self._write(write)

    def _write(
        self,
        write: Callable[[Connection], None],
        is_written: Callable[[Connection], bool] = lambda _: False,
    ) -> None:
        """A transaction under the lease, and again where it failed for what passes."""
        tries = 0

        def once() -> None:
            nonlocal tries
            tries += 1
            with database_errors(), writing(self.engine) as connection:
                self._lease.fence(connection)
                # The connection may have been lost after the commit and before its answer.
                if tries == 1 or not is_written(connection):
                    write(connection)

        again(once)

    def _require_room(self, shape: Shape, rows: Sequence[Row]) -> None:
        """MariaDB would end the connection over a statement that is too long for it."""
        if self._most is None:
            return
        for row in rows:
            length = sum(_sent(value) for value in row if isinstance(value, str))
            if length > self._most:
                raise StoreError(
                    f"{_named(shape, row)}: {length:,} bytes are more than the database takes at "
                    f"once; raise its max_allowed_packet, which now leaves room for {self._most:,}"
                )

    def _name_refused(self, shape: Shape, rows: Sequence[Row], error: RowsRefused) -> None:
        """Find a row that is refused alone, and raise the error with its key."""
        while len(rows) > 1:
            half = rows[: len(rows) // 2]
            rows = half if self._refuses(shape, half) else rows[len(half) :]
        place = _named(shape, rows[0]) if rows else shape.name
        raise RowsRefused(f"{place}: the database refuses it: {error}") from None

    def _refuses(self, shape: Shape, rows: Sequence[Row]) -> bool:
        try:
            with database_errors(), self.engine.connect() as connection:
                upsert_rows(connection, shape.table, shape.written(rows))
                connection.rollback()
        except RowsRefused:
            return True
        return False


def _named(shape: Shape, row: Row) -> str:
    return f"{shape.name} ({', '.join(map(str, shape.key(row)))})"


def _sent(value: str) -> int:
    """Bytes of a text in a statement, in which two characters are escaped."""
    if len(value) * 4 < _ROOM:
        return len(value)
    return len(value.encode()) + value.count("'") + value.count("\\")


def _packet(connection: Connection) -> int:
    return int(connection.execute(text("SELECT @@max_allowed_packet")).scalar_one()) - _ROOM


def refuse_foreign(engine: Engine, identity: str) -> None:
    """Raise UsageError for a mirror, of whatever schema, that is no copy of this one.

    Only looks.
    """
    read(engine, lambda connection: _is_ours(connection, identity))


def _is_ours(connection: Connection, identity: str) -> bool:
    """Is there a copy of this mirror already? False for a database with nothing in it.

    Raises UsageError for any other mirror.
    """
    if not _holds_something(connection):
        return False
    places = copies.places(connection)
    if not places:
        raise UsageError(_FULL)
    if any(place.origin != identity for place in places.values()):
        raise UsageError(f"{_FULL}. It was copied from another mirror than this")
    return True


def _holds_something(connection: Connection) -> bool:
    there = set(inspect(connection).get_table_names())  # an older schema has not all of them
    return any(
        connection.execute(select(literal(1)).select_from(one.table).limit(1)).first() is not None
        for one in shapes()
        if one.name in there - BOOK
    )


def _remove(connection: Connection, shape: Shape, keys: Collection[Key]) -> None:
    if not keys:
        return
    columns = list(shape.table.primary_key.columns)
    marks = [bindparam(f"key_{number}", type_=one.type) for number, one in enumerate(columns)]
    statement = delete(shape.table).where(
        *(column == mark for column, mark in zip(columns, marks, strict=True))
    )
    connection.execute(
        statement,
        [
            {f"key_{number}": value for number, value in enumerate(shape.bound(key))}
            for key in sorted(keys)
        ],
    )


def _set_sequences(connection: Connection) -> None:
    """Let PostgreSQL go on with the number after the highest; others look at the table."""
    for one in shapes():
        column: Any = one.table.autoincrement_column
        if column is None or not isinstance(column.type, BigInteger | Integer):
            continue
        highest = connection.scalar(select(func.max(column)))
        sequence = func.pg_get_serial_sequence(one.table.name, column.name)
        connection.execute(select(func.setval(sequence, highest or 1, highest is not None)))
