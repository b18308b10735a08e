"""INSERT … or update, in each database's words. A new dialect is one function here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.sql.dml import Insert


def _on_conflict(insert: Callable[[Table], Any]) -> Callable[[Table], Insert]:
    def upsert(table: Table) -> Insert:
        statement = insert(table)
        keys = list(table.primary_key.columns)
        changed = {
            column.name: statement.excluded[column.name]
            for column in table.columns
            if not column.primary_key
        }
        if not changed:
            return statement.on_conflict_do_nothing(index_elements=keys)  # type: ignore[no-any-return]
        return statement.on_conflict_do_update(index_elements=keys, set_=changed)  # type: ignore[no-any-return]

    return upsert


def _on_duplicate_key(table: Table) -> Insert:
    statement = mysql.insert(table)
    changed = {
        column.name: statement.inserted[column.name]
        for column in table.columns
        if not column.primary_key
    }
    if not changed:
        first = next(iter(table.primary_key.columns))
        changed = {first.name: statement.inserted[first.name]}
    return statement.on_duplicate_key_update(changed)


UPSERT: dict[str, Callable[[Table], Insert]] = {
    "sqlite": _on_conflict(sqlite.insert),
    "postgresql": _on_conflict(postgresql.insert),
    "mysql": _on_duplicate_key,
    "mariadb": _on_duplicate_key,
}


def upsert(dialect: str, table: Table) -> Insert:
    """A statement that inserts a row, or replaces the row of the same key.

    One row per key in a statement: PostgreSQL refuses to touch a row twice. Raises KeyError for a
    dialect that has no function here; `etl.db.engine` refuses such a URL first.
    """
    return UPSERT[dialect](table)
