"""A mirror's tables read page by page, in the order of their keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple, Protocol, TypeVar

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    Select,
    Text,
    and_,
    cast,
    func,
    literal,
    or_,
    select,
    tuple_,
)

from etl.db.again import read
from etl.db.engine import database_errors
from etl.db.tables import sync_runs
from etl.db.types import Json, LongText
from etl.moving.telling import telling
from etl.moving.values import Key, Row, Shape, Sum, row_digest, shape, shapes

#: Rows of a page, and characters or bytes of it: at least one row comes, whatever its size.
MOST_ROWS = 4_000
MOST_BYTES = 16 * 1024 * 1024
#: The identity of a mirror in which nothing ever ran.
NOBODY = "nobody"

_Found = TypeVar("_Found")
#: Told of each step: the table, how many of its rows are done, and of how many, where known.
Progress = Callable[[str, int, int | None], None]


class Page(NamedTuple):
    """Rows in the order of their keys."""

    rows: list[Row]
    #: Nothing comes after them.
    is_last: bool


class Original(Protocol):
    """What a mirror is copied from."""

    @property
    def identity(self) -> str:
        """Which mirror this is, whatever happened to it since it began."""

    @property
    def state(self) -> str:
        """What it is like now, in 64 characters at most."""

    def is_as(self, state: str) -> bool:
        """Is it certainly as it was in that state?"""

    def pages(self, shape: Shape, after: Key | None) -> Iterator[list[Row]]:
        """A table's rows behind a key, in the order of their keys."""

    def rows(self, shape: Shape) -> int | None:
        """How many rows a table has, where that is known already."""

    def sums(self, progress: Progress) -> dict[str, Sum]:
        """Rows and digest of each table."""


def page(connection: Connection, shape: Shape, after: Key | None) -> Page:
    """The rows behind a key, or from the first one with None: as many as a page may hold."""
    columns = shape.table.columns
    is_long = any(isinstance(column.type, LongText | Json) for column in columns)
    most = _fitting(connection, shape, after) if is_long else MOST_ROWS
    query = select(*(_plain(connection, column) for column in columns))
    found = _fetched(connection, _next(connection, query, shape, after).limit(most))
    return Page(shape.read(found), is_last=most == MOST_ROWS and len(found) < MOST_ROWS)


def _fitting(connection: Connection, shape: Shape, after: Key | None) -> int:
    """How many rows fit into a page, asked for before any comes; one at least."""
    is_sqlite = connection.dialect.name == "sqlite"
    size = func.length if is_sqlite else func.octet_length
    sizes = [
        func.coalesce(size(_plain(connection, column)), 0)
        for column in shape.table.columns
        if isinstance(column.type, LongText | Json)
    ]
    query = _next(connection, select(*sizes), shape, after).limit(MOST_ROWS)
    total = 0
    for number, lengths in enumerate(_fetched(connection, query)):
        total += sum(lengths)
        if number and total > MOST_BYTES:
            return number
    return MOST_ROWS


def _plain(connection: Connection, column: Column[Any]) -> ColumnElement[Any]:
    """A column as its database keeps it: PostgreSQL's driver would decode JSON, numbers and all."""
    is_decoded = isinstance(column.type, Json) and connection.dialect.name == "postgresql"
    return cast(column, Text) if is_decoded else column


def _next(
    connection: Connection, query: Select[Any], shape: Shape, after: Key | None
) -> Select[Any]:
    keys = list(shape.table.primary_key.columns)
    if after is not None:
        query = query.where(behind(connection.dialect.name, keys, shape.bound(after)))
    return query.order_by(*keys)


def behind(dialect: str, keys: Sequence[Column[Any]], values: Sequence[Any]) -> ColumnElement[bool]:
    """Rows whose key is greater than this, in words for which each database takes its index."""
    bound = [literal(value, key.type) for key, value in zip(keys, values, strict=True)]
    if dialect in ("sqlite", "postgresql"):
        return tuple_(*keys) > tuple_(*bound)
    beyond: ColumnElement[bool] = keys[-1] > bound[-1]
    for key, value in reversed(list(zip(keys[:-1], bound[:-1], strict=True))):
        beyond = or_(key > value, and_(key == value, beyond))
    return beyond


def _fetched(connection: Connection, query: Select[Any]) -> Sequence[tuple[Any, ...]]:
    """The driver's own tuples: the types of the columns would be read twice."""
    cursor = connection.execute(query).cursor
    return cursor.fetchall() if cursor is not None else []


class Mirror:
    """The tables of a database, as somebody reads them who alone may write there."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def look(self, look: Callable[[Connection], _Found]) -> _Found:
        """What a look at the database finds; again where it failed for a reason that passes."""
        with telling(self.engine):
            return read(self.engine, look)

    def page(self, shape: Shape, after: Key | None) -> Page:
        """The rows behind a key."""
        return self.look(lambda connection: page(connection, shape, after))

    def pages(self, shape: Shape, after: Key | None) -> Iterator[list[Row]]:
        """All of them, a page at a time."""
        is_last = False
        while not is_last:
            rows, is_last = self.page(shape, after)
            if rows:
                after = shape.key(rows[-1])
                yield rows

    def rows(self, shape: Shape) -> int | None:
        """How many rows a table has."""
        query = select(func.count()).select_from(shape.table)
        return self.look(lambda connection: connection.scalar(query) or 0)

    def sums(self, progress: Progress) -> dict[str, Sum]:
        """Rows and digest of each table, as they are read back."""
        found = {}
        for one in shapes():
            total = found[one.name] = Sum()
            for rows in self.pages(one, None):
                total.add(rows)
                progress(one.name, total.rows, None)
        return found


class Snapshot(Mirror):
    """The same as of one moment, whoever writes meanwhile; only to look."""

    def __init__(self, engine: Engine, connection: Connection) -> None:
        super().__init__(engine)
        self._connection = connection

    def look(self, look: Callable[[Connection], _Found]) -> _Found:
        """What a look finds; not again where it failed, as the moment would be another."""
        with telling(self.engine), database_errors():
            return look(self._connection)


@contextmanager
def snapshot(engine: Engine) -> Iterator[Snapshot]:
    """A mirror as it is now, for as long as the block takes. Raises StoreError."""
    at_once = {} if engine.dialect.name == "sqlite" else {"isolation_level": "REPEATABLE READ"}
    with ExitStack() as stack:
        with telling(engine), database_errors():
            made = engine.execution_options(**at_once)
            connection = stack.enter_context(made.connect())
        yield Snapshot(engine, connection)


def identity(mirror: Mirror) -> str:
    """What tells one mirror from another, wherever it lies: when its first run began."""
    runs = shape(sync_runs.name)
    first = next(mirror.pages(runs, None), [])
    return row_digest([first[0][at] for at in _known_by(runs)]).hex() if first else NOBODY


def has_run(original: Original, row: Row) -> bool:
    """Does the original know this run of the copy?"""
    runs = shape(sync_runs.name)
    known = _known_by(runs)
    number = row[known[0]]
    found = next(original.pages(runs, (number - 1,)), [])
    return bool(found) and [found[0][at] for at in known] == [row[at] for at in known]


def _known_by(runs: Shape) -> tuple[int, int]:
    """A run's number, and when it began: what nothing ever changes."""
    return runs.names.index("id"), runs.names.index("started_at")
