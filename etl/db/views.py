"""The analytics views: which there are, and making and dropping them.

A view is a file in `etl/sql/views/`: `<name>.sql`, or one `<name>.<database>.sql` for each database
where no one text can be. It holds a query; what the view means, says `<name>.toml` beside it (see
`etl.db.explained`). Views are made anew after every migration, so that they never stand in its way.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

from sqlalchemy import Connection, Dialect, inspect
from sqlalchemy.exc import DBAPIError

from etl.db import explained, faults
from etl.errors import StoreError

#: Views that earlier versions made and this one does not: dropped where they are found. A name in
#: here is never given to a view again.
RETIRED: frozenset[str] = frozenset()

_NAME = re.compile(r"([a-z][a-z0-9_]*)(?:\.(postgresql|mariadb|mysql|sqlite))?\.sql")
#: The texts that a database takes, best first; '' is the text for all.
_TAKES = {
    "sqlite": ("sqlite", ""),
    "postgresql": ("postgresql", ""),
    "mariadb": ("mariadb", ""),
    "mysql": ("mysql", "mariadb", ""),
}
_COMMENT = re.compile(r"--.*")
_READ = re.compile(r"\b(?:FROM|JOIN)\s+(\w+)", re.IGNORECASE)


def names() -> list[str]:
    """Every view of this version, by name."""
    return sorted({name for name, _ in _texts()})


def summary(name: str) -> str:
    """What a view shows, in one sentence."""
    return explained.views()[name].summary


def digest() -> str:
    """Changes with every change of a query: the newest migration names it as `VIEWS`.

    What a view is said to mean is not part of it: that reaches a database without a migration.
    """
    whole = hashlib.sha256()
    for (name, database), text in sorted(_texts().items()):
        whole.update(f"{name}.{database}\n{text}\x00".encode())
    return whole.hexdigest()[:32]


def create_statements(dialect: Dialect) -> list[str]:
    """What makes every view on this database, those that others read first."""
    return [f"CREATE VIEW {name} AS\n{_text(name, dialect)}" for name in _order(dialect)]


def drop_statements(dialect: Dialect) -> list[str]:
    """What drops every view of this version on this database, those that others read last."""
    return [f"DROP VIEW {name}" for name in reversed(_order(dialect))]


def create(connection: Connection) -> None:
    """Make every view; none of them may be there."""
    for statement in create_statements(connection.dialect):
        _execute(connection, statement)


def drop(connection: Connection) -> None:
    """Drop our views, as far as they are there, and nothing that somebody else made.

    Raises StoreError where somebody's own view reads one of them.
    """
    there = _there(connection)
    for name in [*sorted(RETIRED), *reversed(_order(connection.dialect))]:
        if name in there:
            _drop(connection, name)


def differences(connection: Connection) -> list[str]:
    """Which views are missing, and which are there that this version no longer has."""
    there = _there(connection)
    missing = [f"the view {name} is missing" for name in names() if name not in there]
    return missing + [f"the view {name} is of another version" for name in sorted(RETIRED & there)]


def _there(connection: Connection) -> set[str]:
    return set(inspect(connection).get_view_names())


def _drop(connection: Connection, name: str) -> None:
    try:
        _execute(connection, f"DROP VIEW {name}")
    except DBAPIError as error:
        others = faults.dependents_of(error)
        if others is None:
            raise
        raise StoreError(
            f"the view {name} must be made anew, and somebody's own stands on it: {others}. Drop "
            "what stands on it, run `ftmirror db upgrade`, and make it anew"
        ) from None


def _execute(connection: Connection, statement: str) -> None:
    # As written: a driver that looks for parameters would find them in `LIKE 'a%'`.
    connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def _order(dialect: Dialect) -> list[str]:
    """The views, each behind those that it reads."""
    order: TopologicalSorter[str] = TopologicalSorter()
    for name in names():
        read = set(_READ.findall(_COMMENT.sub("", _text(name, dialect))))
        order.add(name, *sorted(read.intersection(names())))
    return list(order.static_order())


def _text(name: str, dialect: Dialect) -> str:
    is_mariadb = getattr(dialect, "is_mariadb", False)
    for database in _TAKES["mariadb" if is_mariadb else dialect.name]:
        if (name, database) in _texts():
            return _texts()[name, database]
    raise StoreError(f"the view {name} has no text for {dialect.name}")


@cache
def _texts() -> dict[tuple[str, str], str]:
    """Every text by the view's name and its database, '' for the one for all."""
    return read(explained.DIRECTORY)


def read(directory: Path) -> dict[tuple[str, str], str]:
    """The queries of a directory by the view's name and its database, '' for the one for all.

    Raises StoreError for a file of another kind, for a view that nothing explains, and for an
    explanation of none.
    """
    found: dict[tuple[str, str], str] = {}
    told = {path.stem for path in directory.glob(f"*{explained.SUFFIX}")}
    for path in sorted(directory.iterdir()):
        if path.suffix == explained.SUFFIX:
            continue
        named = _NAME.fullmatch(path.name)
        if named is None:
            raise StoreError(
                f"{path.name} is no name of a view: write <name>.sql, or <name>.<database>.sql "
                f"for {', '.join(_TAKES)}"
            )
        if named[1] not in told:
            raise StoreError(
                f"nothing says what {path.name} shows: write {named[1]}.toml beside it"
            )
        found[named[1], named[2] or ""] = path.read_text(encoding="utf-8").strip()
    for name in sorted(told - {name for name, _ in found}):
        raise StoreError(f"{name}.toml explains a view that has no query")
    return found
