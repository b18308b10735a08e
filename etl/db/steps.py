"""A migration's steps on MariaDB and MySQL, which commit each: looked for before it is made.

A migration that was cut there has made some of its steps for good, and nothing says which. So
whatever Alembic's `op` would make or drop is looked for first, and left out where it is done. The
other databases take a whole migration back, and nothing changes for them, nor for `--sql`.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterable
from functools import partial
from types import ModuleType
from typing import Any, NoReturn

from alembic.ddl.impl import DefaultImpl
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Column, Connection, Dialect, Index, Table, delete, inspect, table
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import Constraint

from etl.errors import StoreError

log = logging.getLogger(__name__)

_HOW = "Rename what is there, or give ftmirror a database of its own; then run it again."


def repeatable(
    context: MigrationContext,
    fence: Callable[[Connection], None],
    only: dict[str, Table] | None = None,
) -> None:
    """Let the steps of this context look first, on a database that commits each of them.

    `fence` begins each of their transactions. With `only`, no other table is dropped than these,
    and none of these names that was made otherwise.

    The steps raise StoreError for what is there under the same name and is something else.
    """
    # Its own operations only: what Alembic does for others in this process stays as it is.
    context.impl = _Steps(context.impl, fence, only)  # type: ignore[assignment]


def take_back(context: MigrationContext, migration: ModuleType, made: Iterable[str]) -> None:
    """Run a migration's `downgrade`; first all rows of what it `made` go, in one transaction.

    For a drop is for good: after a cut, rows that are left of some tables would have to fit those
    that are not. The transaction lasts until the first drop, so that the version that was written
    before belongs to it, and the data steps with which `downgrade` begins.
    """
    impl: Any = context.impl
    for name in made:
        if impl.is_to_go(name):
            context.impl.execute(delete(table(name)))
    migration.downgrade()


def made_by(migration: ModuleType, dialect: Dialect) -> dict[str, Table]:
    """The tables that a migration's `upgrade` makes, by name; nothing is connected to."""
    context = MigrationContext.configure(
        dialect=dialect, opts={"as_sql": True, "output_buffer": io.StringIO()}
    )
    recorder = _Recorder(context.impl)
    context.impl = recorder  # type: ignore[assignment]
    with Operations.context(context):
        migration.upgrade()
    return recorder.tables


class _Recorder:
    """Notes the tables that are made, in the place of making them."""

    def __init__(self, impl: DefaultImpl) -> None:
        self._impl = impl
        self.tables: dict[str, Table] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._impl, name)

    def create_table(self, table: Table, **_: Any) -> None:
        self.tables[table.name] = table


class _Steps:
    """Stands before Alembic's implementation of a database's operations."""

    def __init__(
        self,
        impl: DefaultImpl,
        fence: Callable[[Connection], None],
        only: dict[str, Table] | None,
    ) -> None:
        assert impl.connection is not None  # noqa: S101 - it would have to be `--sql`
        self._impl = impl
        self._connection: Connection = impl.connection
        self._fence = fence
        self._only = only
        self._told: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        """What it does with neither making nor dropping anything."""
        return getattr(self._impl, name)

    def create_table(self, table: Table, **options: Any) -> None:
        """With its indexes, which are statements of their own."""
        self._step(partial(self._is_made, table), self._impl.create_table, table, **options)
        for index in table.indexes:
            self.create_index(index)

    def drop_table(self, table: Table, **options: Any) -> None:
        def is_done() -> bool:
            return not self.is_to_go(table.name)

        self._step(is_done, self._impl.drop_table, table, **options)

    def add_column(self, table_name: str, column: Column[Any], **options: Any) -> None:
        done = partial(self._is_added, table_name, column)
        self._step(done, self._impl.add_column, table_name, column, **options)

    def drop_column(self, table_name: str, column: Column[Any], **options: Any) -> None:
        def is_gone() -> bool:
            return column.name not in self._columns(table_name)

        self._step(is_gone, self._impl.drop_column, table_name, column, **options)

    def create_index(self, index: Index, **options: Any) -> None:
        self._step(partial(self._is_indexed, index), self._impl.create_index, index, **options)

    def drop_index(self, index: Index, **options: Any) -> None:
        def is_gone() -> bool:
            return index.name not in self._indexes(_table_of(index))

        self._step(is_gone, self._impl.drop_index, index, **options)

    def alter_column(self, table_name: str, column_name: str, **changes: Any) -> None:
        """Altering it again changes nothing, unless it has another name by then."""
        if changes.get("name") is not None:
            self._refuse("rename_column")
        self._fence(self._connection)
        self._impl.alter_column(table_name, column_name, **changes)

    def add_constraint(self, constraint: Constraint, **_: Any) -> NoReturn:
        self._refuse(f"add_constraint of {constraint.name}")

    def drop_constraint(self, constraint: Constraint, **_: Any) -> NoReturn:
        self._refuse(f"drop_constraint of {constraint.name}")

    def rename_table(self, old_table_name: str, *_: Any, **__: Any) -> NoReturn:
        self._refuse(f"rename_table of {old_table_name}")

    def bulk_insert(self, *_: Any, **__: Any) -> NoReturn:
        self._refuse("bulk_insert")

    def execute(self, *statement: Any, **options: Any) -> None:
        """A data step: that it can be run again is its own affair."""
        self._fence(self._connection)
        self._impl.execute(*statement, **options)

    def _exec(self, *statement: Any, **options: Any) -> Any:
        """Alembic's own: how it writes the version."""
        self._fence(self._connection)
        return self._impl._exec(*statement, **options)  # noqa: SLF001

    def _step(
        self, is_done: Callable[[], bool], make: Callable[..., None], *what: Any, **options: Any
    ) -> None:
        if is_done():
            return
        # The step before has committed, so this is the first statement of a transaction.
        self._fence(self._connection)
        try:
            make(*what, **options)
        except DBAPIError as error:
            # The server ends a statement that it runs though its client was killed: it may have
            # been this very step, begun before we looked.
            if error.connection_invalidated or not is_done():
                raise

    def _refuse(self, what: str) -> NoReturn:
        said = f"{what}: nobody can tell whether it was done already when a migration was cut"
        raise NotImplementedError(said)

    def _is_made(self, table: Table) -> bool:
        columns = self._columns(table.name)
        if not columns:
            return False
        differing = self._differing(table, columns)
        if differing:
            raise StoreError(
                f"there is a table {table.name} already, and it is not ftmirror's: it has "
                f"{', '.join(differing)} not at all or otherwise. {_HOW}"
            )
        return True

    def is_to_go(self, name: str) -> bool:
        """Is the table there, and may it be dropped?"""
        columns = self._columns(name)
        if self._only is None or not columns:
            return bool(columns)
        made = self._only.get(name)
        if made is not None and not self._differing(made, columns):
            return True
        if name not in self._told:
            log.warning("the table %s stays: it is not as ftmirror would have made it", name)
        self._told.add(name)
        return False

    def _differing(self, table: Table, columns: dict[str, Any]) -> list[str]:
        """What the table lacks or has otherwise; what it has beside that does not matter."""
        differing = [one.name for one in table.columns if not self._is_alike(one, columns)]
        key = inspect(self._connection).get_pk_constraint(table.name)["constrained_columns"]
        if not differing and key != [column.name for column in table.primary_key.columns]:
            differing.append("the primary key")
        return differing

    def _is_alike(self, column: Column[Any], columns: dict[str, Any]) -> bool:
        found = columns.get(column.name)
        return (
            found is not None
            and found["nullable"] == column.nullable
            and not self._impl.compare_type(Column(column.name, found["type"]), column)
        )

    def _is_added(self, table_name: str, column: Column[Any]) -> bool:
        columns = self._columns(table_name)
        if column.name in columns and not self._is_alike(column, columns):
            raise StoreError(
                f"the table {table_name} has a column {column.name} already, and it is not the "
                f"one that this schema adds. {_HOW}"
            )
        return column.name in columns

    def _is_indexed(self, index: Index) -> bool:
        found = self._indexes(_table_of(index)).get(index.name)
        if found is None:
            return False
        if found["column_names"] != list(index.columns.keys()) or found["unique"] != index.unique:
            raise StoreError(
                f"the table {_table_of(index)} has an index {index.name} already, and it is not "
                f"the one that this schema makes. {_HOW}"
            )
        return True

    def _columns(self, table_name: str) -> dict[str, Any]:
        """The columns by name; none where there is no such table."""
        seen = inspect(self._connection)
        if not seen.has_table(table_name):
            return {}
        return {column["name"]: column for column in seen.get_columns(table_name)}

    def _indexes(self, table_name: str) -> dict[str | None, Any]:
        seen = inspect(self._connection)
        if not seen.has_table(table_name):
            return {}
        return {index["name"]: index for index in seen.get_indexes(table_name)}


def _table_of(index: Index) -> str:
    assert index.table is not None  # noqa: S101 - an index of Alembic always has one
    return index.table.name
