"""Resource: what one kind of record declares, so that everything else is written once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import Table

from etl.fields import Drift
from etl.record import Record


class Row(NamedTuple):
    """One row of one table: a value for every column of it, no more and no fewer."""

    table: Table
    values: dict[str, Any]


def never_final(record: Record) -> bool:  # noqa: ARG001 - the signature is the declaration's
    """A kind of record that may always change."""
    return False


def no_progress(record: Record) -> int:  # noqa: ARG001
    """A kind of record whose states have no order of their own."""
    return 0


@dataclass(frozen=True)
class Resource:
    """A kind of record: where it is listed, its tables, and how one record becomes rows."""

    #: Its name in commands, in the ledger and in reports.
    name: str
    #: What the API writes under `object` in each of its records.
    object: str
    #: Path of the list, one of `etl.api.paths`.
    path: str
    #: The table with one row a record, keyed by the record's id.
    table: Table
    #: One record to its rows, main row first, and what was noted on the way. Pure.
    #: Raises RecordError for a record that cannot become rows.
    rows: Callable[[Record], Iterable[Row | Drift]]
    #: Tables whose rows belong to one record, with the column that names it: replaced whole.
    owned: Mapping[Table, str] = field(default_factory=dict)
    #: Can the record be expected to stay as it is?
    is_final: Callable[[Record], bool] = never_final
    #: How far along a state is, higher later: decides between two states of no known time.
    progress: Callable[[Record], int] = no_progress

    @property
    def tables(self) -> tuple[Table, ...]:
        """Its tables, main first."""
        return (self.table, *self.owned)

    @property
    def id_length(self) -> int:
        """Longest id that its key takes, in characters."""
        length: int = getattr(self.table.c.id.type, "length")  # noqa: B009 - types differ by table
        return length
