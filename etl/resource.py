"""Resource: what one kind of record declares, so that everything else is written once."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from sqlalchemy import Table

from etl.errors import EtlError
from etl.fields import Drift
from etl.record import Record

#: One row of one table: a value for every column in the table's order, as every driver takes them
#: (text, numbers, true, false and None; moments as `etl.fields.moment` writes them, JSON as text).
#: Plain tuples, so that a million of them go to the database as they are.
Row = tuple[Table, tuple[Any, ...]]


def row_of(table: Table) -> Callable[..., Row]:
    """What makes a table's rows, called with a value for each column by its name, or by place.

    It raises EtlError for a column that is misspelt or missing, where a statement would fill in
    NULL without a word.
    """
    columns = namedtuple(table.name, table.columns.keys())  # type: ignore[misc]

    def row(*values: Any, **named: Any) -> Row:
        try:
            return table, tuple(columns(*values, **named))
        except TypeError:
            given = set(columns._fields[: len(values)]) | named.keys()
            odd = ", ".join(sorted(given ^ set(columns._fields)))
            raise EtlError(f"a row of {table.name} does not fit its table: {odd}") from None

    return row


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

    @cached_property
    def id_length(self) -> int:
        """Longest id that its key takes, in characters."""
        length: int = getattr(self.table.c.id.type, "length")  # noqa: B009 - types differ by table
        return length
