"""Which tables and views can be exported, by which time, and in which order their rows stand.

The order is the same on every database, so that what did not change gives the same file again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, inspect

from etl.db import explained, views
from etl.db.tables import metadata
from etl.errors import StoreError
from etl.export import kinds
from etl.export.kinds import Kind
from etl.resources import discover

#: The ledger: whole payloads, which have a format of their own.
LEDGER = ("records", "record_versions")
#: Of the bookkeeping what explains the figures in the views.
_EXPLAINS = ("prices",)

#: The column by whose UTC month the rows are parted, and which `--since` asks. One line a table.
_TABLE_TIMES = {
    "billed_costs": "start_time",
    "checkpoint_permissions": "created_at",
    "files": "created_at",
    "job_checkpoints": "created_at",
    "job_events": "created_at",
    "jobs": "created_at",
    "projects": "created_at",
    "quarantine": "first_seen_at",
    "sync_runs": "started_at",
}


@dataclass(frozen=True)
class Relation:
    """A table or view as it is exported."""

    name: str
    #: `table` or `view`.
    kind: str
    #: Each column, in its order.
    columns: Mapping[str, Kind]
    #: The column that says when a row was; None where rows have no time.
    time: str | None
    #: What tells two rows apart.
    key: tuple[str, ...]

    @property
    def is_of_a_job(self) -> bool:
        """Without a time of its own it has that of a job."""
        return self.time is None and "job_id" in self.columns


def known(connection: Connection) -> dict[str, Relation]:
    """Everything that can be asked for, by name; the views as this database has them."""
    discover()
    found = {
        name: Relation(
            name,
            "table",
            kinds.of_table(table),
            _TABLE_TIMES.get(name),
            tuple(column.name for column in table.primary_key),
        )
        for name, table in sorted(metadata.tables.items())
        if name not in LEDGER
    }
    return {**{name: _view(connection, name) for name in views.names()}, **found}


def by_default(found: Mapping[str, Relation]) -> list[str]:
    """What is exported when nothing is named, by name: every view, and what was mirrored.

    Not the ledger, and of the bookkeeping only the price book.
    """
    mirrored = {table.name for resource in discover().values() for table in resource.tables}
    kept = mirrored.union(_EXPLAINS)
    return sorted(name for name, one in found.items() if one.kind == "view" or name in kept)


def _view(connection: Connection, name: str) -> Relation:
    view = explained.views()[name]
    types = {column.name: kinds.of_view(column) for column in view.columns}
    columns = {}
    for column in inspect(connection).get_columns(name):
        if column["name"] not in types:
            raise StoreError(
                f"what {name}.{column['name']} holds is not explained, so not exported"
            )
        columns[column["name"]] = types[column["name"]]
    return Relation(name, "view", columns, view.time, view.key)
