"""Many rows at once, the fastest way each database has. One function a dialect.

SQLAlchemy says what the statement and the types are; the rows go past it, since preparing each
of a million parameter sets by name would take longer than the database takes to store them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, insert
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError

from etl.db.upsert import upsert

_NAMED = re.compile(r"%\((\w+)\)s")

#: Changed rows from which PostgreSQL gets them by COPY.
STAGE_FROM = 200

#: Each a value for every column, in the table's order, as every driver takes it.
Rows = Sequence[tuple[Any, ...]]


class Pace(NamedTuple):
    """How a database likes its batches."""

    #: Records in one transaction.
    records: int
    #: Pages that may wait to be written while the next are read.
    pages_ahead: int


#: Ids come in no order, and an index takes many at once better than a few: SQLite's twice as well,
#: and MariaDB carries whole pages to its log and its files for a row on each.
PACE = {
    "sqlite": Pace(6_000, 4),
    "postgresql": Pace(4_000, 4),
    "mysql": Pace(8_000, 4),
    "mariadb": Pace(8_000, 4),
}

_Keep = tuple[str, ...] | None
#: Columns by place, each with what makes its type's value of the driver's.
_Readers = list[tuple[int, Callable[[Any], Any]]]


def insert_rows(connection: Connection, table: Table, rows: Rows) -> None:
    """Insert rows whose keys are known to be new.

    Raises SQLAlchemy's errors, as any statement does.
    """
    if rows:
        _INSERT[connection.dialect.name](connection, table, rows)


def upsert_rows(
    connection: Connection, table: Table, rows: Rows, *, keep: Collection[str] = ()
) -> None:
    """Insert rows, or replace those of the same key but for the columns `keep`; one row a key."""
    if rows:
        _UPSERT[connection.dialect.name](connection, table, rows, tuple(keep))


def _executemany_insert(connection: Connection, table: Table, rows: Rows) -> None:
    connection.exec_driver_sql(_statement(connection.dialect, table, None), list(rows))


def _executemany_upsert(connection: Connection, table: Table, rows: Rows, keep: _Keep) -> None:
    connection.exec_driver_sql(_statement(connection.dialect, table, keep), list(rows))


@lru_cache(maxsize=256)
def _statement(dialect: Dialect, table: Table, keep: _Keep) -> str:
    """An INSERT of all columns in their order, or, but for these columns, an upsert."""
    statement = insert(table) if keep is None else upsert(dialect.name, table, keep=keep)
    compiled = statement.compile(dialect=dialect)
    text = str(compiled)
    names = compiled.positiontup
    if names is None:  # PyMySQL and psycopg take `%(name)s` and `%s`; by place costs less
        names = _NAMED.findall(text)
        text = _NAMED.sub("%s", text)
    if list(names) != table.columns.keys():
        raise AssertionError(f"{table.name}: {names} are not its columns in their order")
    return text


def _literal_insert(connection: Connection, table: Table, rows: Rows) -> None:
    _literal(connection, _statement(connection.dialect, table, None), rows)


def _literal_upsert(connection: Connection, table: Table, rows: Rows, keep: _Keep) -> None:
    _literal(connection, _statement(connection.dialect, table, keep), rows)


def _literal(connection: Connection, statement: str, rows: Rows) -> None:
    """MariaDB's and MySQL's INSERT of many rows, the values written into the statement.

    PyMySQL does the same, each value through a dozen calls. Every connection has the `sql_mode`
    that `etl.db.engine` gives it, under which a backslash escapes; text holds no U+0000.
    """
    begin, end = _VALUES.split(statement, maxsplit=1)
    waiting: list[str] = []
    size = 0
    for row in rows:
        text = f"({','.join([_LITERAL[type(value)](value) for value in row])})"
        if size + len(text) > _STATEMENT_LENGTH and waiting:
            _execute_plain(connection, f"{begin}VALUES {','.join(waiting)}{end}")
            waiting, size = [], 0
        waiting.append(text)
        size += len(text)
    _execute_plain(connection, f"{begin}VALUES {','.join(waiting)}{end}")


def _execute_plain(connection: Connection, statement: str) -> None:
    """Without parameters, so that a `%` in a value stays one."""
    connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def _quoted(text: str) -> str:
    if "'" in text or "\\" in text:
        text = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"


_VALUES = re.compile(r"VALUES \((?:%s, )*%s\)")
#: Characters of a statement; one row alone may be longer (`etl.db.store` looks after that).
_STATEMENT_LENGTH = 1024 * 1024
_LITERAL: dict[type, Callable[[Any], str]] = {
    str: _quoted,
    int: str,
    float: repr,
    bool: lambda value: "1" if value else "0",
    type(None): lambda _: "NULL",
}


def _copy(connection: Connection, table: Table, rows: Rows, into: str | None = None) -> None:
    """PostgreSQL's COPY, into the table or its stand-in."""
    preparer = connection.dialect.identifier_preparer
    listed = ", ".join(map(preparer.quote, table.columns.keys()))
    statement = f"COPY {into or preparer.format_table(table)} ({listed}) FROM STDIN"
    driver = connection.connection.driver_connection
    assert driver is not None  # noqa: S101 - a connection in use has one
    error_class = connection.dialect.dbapi.Error  # type: ignore[union-attr]
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            write = copy.write_row
            for row in rows:
                write(row)
    except error_class as error:
        raise DBAPIError.instance(
            statement, None, error, error_class, dialect=connection.dialect
        ) from error
    except BaseException:
        # SQLAlchemy knows nothing of what was under way, and would take the connection for fit.
        connection.invalidate()
        raise


def _copy_upsert(connection: Connection, table: Table, rows: Rows, keep: _Keep) -> None:
    """COPY into a temporary table, then one INSERT … ON CONFLICT from there.

    A few rows are not worth the table, nor the right to make one.
    """
    if len(rows) < STAGE_FROM:
        _executemany_upsert(connection, table, rows, keep)
        return
    preparer = connection.dialect.identifier_preparer
    name, stage = preparer.format_table(table), preparer.quote(f"stage_{table.name}")
    connection.exec_driver_sql(f"CREATE TEMPORARY TABLE {stage} (LIKE {name}) ON COMMIT DROP")
    _copy(connection, table, rows, into=stage)
    conflict = _statement(connection.dialect, table, keep)
    listed = ", ".join(map(preparer.quote, table.columns.keys()))
    action = conflict[conflict.index("ON CONFLICT") :]
    connection.exec_driver_sql(
        f"INSERT INTO {name} ({listed}) SELECT {listed} FROM {stage} {action}"
    )


def select_by_id(
    connection: Connection,
    table: Table,
    columns: tuple[str, ...],
    resource: str,
    ids: Sequence[str],
    index: str | None = None,
) -> Sequence[tuple[Any, ...]]:
    """These columns of a resource's rows with these ids, in no order.

    The statement is made once for a number of ids; PostgreSQL takes them as one array.
    `index`: the one that MariaDB or MySQL shall read instead of the table.
    """
    dialect = connection.dialect
    is_array = dialect.name == "postgresql"
    statement = _by_id(dialect, table, columns, 1 if is_array else len(ids), index)
    parameters = (resource, list(ids)) if is_array else (resource, *ids)
    cursor = connection.exec_driver_sql(statement, parameters).cursor
    # The driver's own tuples: SQLAlchemy would make a row object of each first.
    found: Sequence[tuple[Any, ...]] = cursor.fetchall() if cursor is not None else []
    readers = _readers(dialect, table, columns)
    # Asked once for all of them: as a rule none has a value that its type would have to read.
    if not any(line[position] is not None for position, _ in readers for line in found):
        return found
    return [_read(line, readers) for line in found]


def _read(
    line: tuple[Any, ...], readers: list[tuple[int, Callable[[Any], Any]]]
) -> tuple[Any, ...]:
    values = list(line)
    for position, reader in readers:
        values[position] = reader(values[position])
    return tuple(values)


@lru_cache(maxsize=64)
def _by_id(
    dialect: Dialect, table: Table, columns: tuple[str, ...], count: int, index: str | None
) -> str:
    quote = dialect.identifier_preparer.quote
    mark = "?" if dialect.paramstyle == "qmark" else "%s"
    ids = "= ANY(%s)" if dialect.name == "postgresql" else f"IN ({', '.join([mark] * count)})"
    listed = ", ".join(map(quote, columns))
    name = dialect.identifier_preparer.format_table(table)
    forced = f" FORCE INDEX ({quote(index)})" if index else ""
    return f"SELECT {listed} FROM {name}{forced} WHERE resource = {mark} AND id {ids}"


@lru_cache(maxsize=64)
def _readers(dialect: Dialect, table: Table, columns: tuple[str, ...]) -> _Readers:
    found: _Readers = []
    for position, name in enumerate(columns):
        reader = table.c[name].type.dialect_impl(dialect).result_processor(dialect, None)
        if reader is not None:
            found.append((position, reader))
    return found


_INSERT: dict[str, Callable[[Connection, Table, Rows], None]] = {
    "sqlite": _executemany_insert,
    "postgresql": _copy,
    "mysql": _literal_insert,
    "mariadb": _literal_insert,
}
_UPSERT: dict[str, Callable[[Connection, Table, Rows, _Keep], None]] = {
    "sqlite": _executemany_upsert,
    "postgresql": _copy_upsert,
    "mysql": _literal_upsert,
    "mariadb": _literal_upsert,
}
