"""INSERT … or update, in each database's words. A new dialect is one function here."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.sql.dml import Insert


def _changing(table: Table, keep: Collection[str]) -> list[str]:
    return [
        column.name
        for column in table.columns
        if not column.primary_key and column.name not in keep
    ]


def _on_conflict(
    insert: Callable[[Table], Any],
) -> Callable[[Table, Collection[str]], Insert]:
    def upsert(table: Table, keep: Collection[str]) -> Insert:
        statement = insert(table)
        keys = list(table.primary_key.columns)
        changed = {name: statement.excluded[name] for name in _changing(table, keep)}
        if not changed:
            return statement.on_conflict_do_nothing(index_elements=keys)  # type: ignore[no-any-return]
        return statement.on_conflict_do_update(index_elements=keys, set_=changed)  # type: ignore[no-any-return]

    return upsert


def _on_duplicate_key(table: Table, keep: Collection[str]) -> Insert:
    statement = mysql.insert(table)
    changed = {name: statement.inserted[name] for name in _changing(table, keep)}
    if not changed:
        first = next(iter(table.primary_key.columns))
        changed = {first.name: statement.inserted[first.name]}
    return statement.on_duplicate_key_update(changed)


UPSERT: dict[str, Callable[[Table, Collection[str]], Insert]] = {
    "sqlite": _on_conflict(sqlite.insert),
    "postgresql": _on_conflict(postgresql.insert),
    "mysql": _on_duplicate_key,
    "mariadb": _on_duplicate_key,
}


def upsert(dialect: str, table: Table, *, keep: Collection[str] = ()) -> Insert:
    """A statement that inserts a row, or replaces the row of the same key but for `keep`.

    One row per key in a statement: PostgreSQL refuses to touch a row twice. Raises KeyError for a
    dialect that has no function here; `etl.db.engine` refuses such a URL first.
    """
    return UPSERT[dialect](table, keep)
