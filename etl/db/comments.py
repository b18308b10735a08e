"""What tables, views and columns mean, kept in the database: for whoever looks there with a tool.

PostgreSQL keeps a comment of each table, view and column, MariaDB and MySQL of tables and their
columns, SQLite of nothing. What is there is compared with what is declared, and only what differs
is written: a text may change without a migration.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby

from sqlalchemy import Column, Connection, Dialect, String, Table, bindparam, text
from sqlalchemy.schema import CreateTable

from etl.db import explained
from etl.db.tables import lease_metadata, metadata
from etl.resources import discover

log = logging.getLogger(__name__)

#: Comments by the name of a table or view, and the name of its column; '' for its own.
Comments = Mapping[tuple[str, str], str]

#: What MariaDB and MySQL take of a table and of a column: characters, and by our rule bytes.
MOST_OF_TABLE, MOST_OF_COLUMN = 2048, 1024

#: Columns that one line of differences names.
_NAMED = 4

_POSTGRESQL = text("""
SELECT c.relname, '', coalesce(obj_description(c.oid, 'pg_class'), '')
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = current_schema() AND c.relname IN :names
UNION ALL
SELECT c.relname, a.attname, coalesce(col_description(c.oid, a.attnum), '')
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
WHERE n.nspname = current_schema() AND c.relname IN :names
    AND a.attnum > 0 AND NOT a.attisdropped
""").bindparams(bindparam("names", expanding=True))

_MYSQL = text("""
SELECT table_name, '', table_comment
FROM information_schema.tables
WHERE table_schema = database() AND table_name IN :names
UNION ALL
SELECT table_name, column_name, column_comment
FROM information_schema.columns
WHERE table_schema = database() AND table_name IN :names
""").bindparams(bindparam("names", expanding=True))

_QUERIES = {"postgresql": _POSTGRESQL, "mariadb": _MYSQL, "mysql": _MYSQL}


def declared(dialect: Dialect) -> Comments:
    """What this version says of everything whose comment such a database keeps."""
    if dialect.name not in _QUERIES:
        return {}
    said = {}
    for table in _tables().values():
        said[table.name, ""] = table.comment or ""
        said |= {(table.name, column.name): column.comment or "" for column in table.columns}
    if dialect.name == "postgresql":
        for name, view in explained.views().items():
            said[name, ""] = view.summary
            said |= {(name, column.name): column.comment for column in view.columns}
    return said


def differing(connection: Connection) -> Comments:
    """What this version says otherwise than the database, of what is there."""
    wanted = declared(connection.dialect)
    if not wanted:
        return {}
    names = sorted({name for name, _ in wanted})
    found = connection.execute(_QUERIES[connection.dialect.name], {"names": names})
    there = {(name, column): said for name, column, said in found}
    return {at: said for at, said in sorted(wanted.items()) if at in there and there[at] != said}


def differences(connection: Connection) -> list[str]:
    """Whose comments differ from this version's, a line for each table and view."""
    lines = []
    for name, found in groupby(differing(connection), key=lambda at: at[0]):
        of = [column or "its own" for _, column in found]
        more = f" and {len(of) - _NAMED} more" if len(of) > _NAMED else ""
        lines.append(f"comments of {name} differ: {', '.join(of[:_NAMED])}{more}")
    return lines


def bring(connection: Connection, fence: Callable[[Connection], None]) -> int:
    """Write what differs; how many comments that were.

    `fence` comes before each statement: MariaDB commits each. The database's error is raised where
    a column there is not as it is declared, since only its comment may change.
    """
    wanted = differing(connection)
    for statement in _statements(wanted, connection.dialect):
        fence(connection)
        # As written: a driver that looks for parameters would find them in `100 %`.
        connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
    if wanted:
        log.info("%d comments on tables, views and columns were written", len(wanted))
    return len(wanted)


def statements(dialect: Dialect) -> list[str]:
    """What writes every comment on this database; none where it keeps none."""
    return list(_statements(declared(dialect), dialect))


def _statements(wanted: Comments, dialect: Dialect) -> Iterator[str]:
    """One statement for each table or view."""
    write = _of_postgresql if dialect.name == "postgresql" else _of_mysql
    for name, found in groupby(wanted, key=lambda at: at[0]):
        yield write(dialect, name, {column: wanted[name, column] for _, column in found})


def _of_postgresql(dialect: Dialect, name: str, said: Mapping[str, str]) -> str:
    """Several statements in one text, as PostgreSQL takes them."""
    quote = dialect.identifier_preparer.quote
    own = f"{'TABLE' if name in _tables() else 'VIEW'} {quote(name)}"
    of = {column: f"COLUMN {quote(name)}.{quote(column)}" if column else own for column in said}
    return ";\n".join(
        f"COMMENT ON {of[column]} IS {_literal(dialect, comment)}"
        for column, comment in said.items()
    )


def _of_mysql(dialect: Dialect, name: str, said: Mapping[str, str]) -> str:
    """A column's comment is part of its definition, so all of that is said again.

    INSTANT: where anything but the comment would change, the server refuses.
    """
    table = _tables()[name]
    parts = [
        f"MODIFY COLUMN {_definition(dialect, table.columns[column])}"
        if column
        else f"COMMENT = {_literal(dialect, comment)}"
        for column, comment in said.items()
    ]
    parts.append("ALGORITHM = INSTANT")
    return f"ALTER TABLE {dialect.identifier_preparer.quote(name)}\n    " + ",\n    ".join(parts)


def _definition(dialect: Dialect, column: Column[object]) -> str:
    compiler = dialect.ddl_compiler(dialect, CreateTable(column.table))
    written: str = compiler.get_column_specification(column)
    return _as_sent(dialect, written)


def _literal(dialect: Dialect, comment: str) -> str:
    written: str = dialect.statement_compiler(dialect, None).render_literal_value(comment, String())
    return _as_sent(dialect, written)


def _as_sent(dialect: Dialect, written: str) -> str:
    """Drivers that look for `%s` would be given each `%` twice."""
    doubles = getattr(dialect.identifier_preparer, "_double_percents", False)
    return written.replace("%%", "%") if doubles else written


def _tables() -> Mapping[str, Table]:
    discover()
    return {**metadata.tables, **lease_metadata.tables}
