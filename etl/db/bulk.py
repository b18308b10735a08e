"""Many rows at once, the fastest way each database has. One function a dialect.

SQLAlchemy says what the statement and the types are; the rows go past it, since preparing each
of a million parameter sets by name would take longer than the database takes to store them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Table, insert
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.dml import Insert

from etl.db.upsert import upsert

_NAMED = re.compile(r"%\((\w+)\)s")

#: Changed rows from which PostgreSQL gets them by COPY.
STAGE_FROM = 200

Rows = Sequence[dict[str, Any]]


def insert_rows(connection: Connection, table: Table, rows: Rows) -> None:
    """Insert rows whose keys are known to be new; each has a value for every column.

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
    _executemany(connection, insert(table), table, rows)


def _executemany_upsert(
    connection: Connection, table: Table, rows: Rows, keep: tuple[str, ...]
) -> None:
    statement = upsert(connection.dialect.name, table, keep=keep)
    _executemany(connection, statement, table, rows)


def _executemany(connection: Connection, statement: Insert, table: Table, rows: Rows) -> None:
    compiled = statement.compile(dialect=connection.dialect)
    text, names = str(compiled), tuple(compiled.positiontup or ())
    if not names:  # PyMySQL and psycopg take `%(name)s` and `%s`; by place costs less
        names = tuple(_NAMED.findall(text))
        text = _NAMED.sub("%s", text)
    connection.exec_driver_sql(text, _tuples(connection.dialect, table, names, rows))


def _copy(connection: Connection, table: Table, rows: Rows, into: str | None = None) -> None:
    """PostgreSQL's COPY, into the table or its stand-in."""
    columns = tuple(table.columns.keys())
    preparer = connection.dialect.identifier_preparer
    listed = ", ".join(map(preparer.quote, columns))
    statement = f"COPY {into or preparer.format_table(table)} ({listed}) FROM STDIN"
    driver = connection.connection.driver_connection
    assert driver is not None  # noqa: S101 - a connection in use has one
    error_class = connection.dialect.dbapi.Error  # type: ignore[union-attr]
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            write = copy.write_row
            for values in _tuples(connection.dialect, table, columns, rows):
                write(values)
    except error_class as error:
        raise DBAPIError.instance(
            statement, None, error, error_class, dialect=connection.dialect
        ) from error


def _copy_upsert(connection: Connection, table: Table, rows: Rows, keep: tuple[str, ...]) -> None:
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
    conflict = str(upsert("postgresql", table, keep=keep).compile(dialect=connection.dialect))
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
) -> Iterator[tuple[Any, ...]]:
    """These columns of a resource's rows with these ids, in no order.

    The statement is made once for a number of ids; PostgreSQL takes them as one array.
    """
    dialect = connection.dialect
    is_array = dialect.name == "postgresql"
    statement = _by_id(dialect, table, columns, 1 if is_array else len(ids))
    parameters = (resource, list(ids)) if is_array else (resource, *ids)
    found = connection.exec_driver_sql(statement, parameters)
    readers = _readers(dialect, table, columns)
    for line in found:
        if all(line[position] is None for position, _ in readers):
            yield tuple(line)
        else:
            values = list(line)
            for position, reader in readers:
                values[position] = reader(values[position])
            yield tuple(values)


@lru_cache(maxsize=64)
def _by_id(dialect: Dialect, table: Table, columns: tuple[str, ...], count: int) -> str:
    quote = dialect.identifier_preparer.quote
    mark = "?" if dialect.paramstyle == "qmark" else "%s"
    ids = "= ANY(%s)" if dialect.name == "postgresql" else f"IN ({', '.join([mark] * count)})"
    listed = ", ".join(map(quote, columns))
    name = dialect.identifier_preparer.format_table(table)
    return f"SELECT {listed} FROM {name} WHERE resource = {mark} AND id {ids}"


@lru_cache(maxsize=64)
def _readers(
    dialect: Dialect, table: Table, columns: tuple[str, ...]
) -> list[tuple[int, Callable[[Any], Any]]]:
    found: list[tuple[int, Callable[[Any], Any]]] = []
    for position, name in enumerate(columns):
        reader = table.c[name].type.dialect_impl(dialect).result_processor(dialect, None)
        if reader is not None:
            found.append((position, reader))
    return found


_INSERT: dict[str, Callable[[Connection, Table, Rows], None]] = {
    "sqlite": _executemany_insert,
    "postgresql": _copy,
    "mysql": _executemany_insert,
    "mariadb": _executemany_insert,
}
_UPSERT: dict[str, Callable[[Connection, Table, Rows, tuple[str, ...]], None]] = {
    "sqlite": _executemany_upsert,
    "postgresql": _copy_upsert,
    "mysql": _executemany_upsert,
    "mariadb": _executemany_upsert,
}


def _tuples(
    dialect: Dialect, table: Table, names: tuple[str, ...], rows: Rows
) -> list[tuple[Any, ...]]:
    """The rows as the driver takes them: in the order of `names`, values as the types want."""
    pick = itemgetter(*names) if len(names) > 1 else lambda row: (row[names[0]],)
    converters = _converters(dialect, table, names)
    if not converters:
        return [pick(row) for row in rows]
    # The time of the run stands in every row: what was converted last is not converted again.
    last: dict[int, tuple[Any, Any]] = {position: (None, None) for position, _ in converters}
    found = []
    for row in rows:
        values = list(pick(row))
        for position, convert in converters:
            given = values[position]
            if given is None:
                continue
            if last[position][0] is not given:
                last[position] = given, convert(given)
            values[position] = last[position][1]
        found.append(tuple(values))
    return found


@lru_cache(maxsize=256)
def _converters(
    dialect: Dialect, table: Table, names: tuple[str, ...]
) -> list[tuple[int, Callable[[Any], Any]]]:
    found: list[tuple[int, Callable[[Any], Any]]] = []
    for position, name in enumerate(names):
        convert = table.c[name].type.dialect_impl(dialect).bind_processor(dialect)
        if convert is not None:
            found.append((position, convert))
    return found
