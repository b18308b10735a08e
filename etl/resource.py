"""Resource: what one kind of record declares, so that everything else is written once."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Literal

from sqlalchemy import Column, ColumnElement, Table, true

from etl.db.tables import ID_LENGTH
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


#: What one request path of a resource answers.
#: `list`: all of a parent's records, read anew each time.
#: `growing list`: the same, newest first, read only to where it was read before; its records get
#: a `position`.
#: `item`: one record.
#: `content`: one record whose payload is whatever bytes came, its id the value asked for.
Reads = Literal["list", "growing list", "item", "content"]

#: How long a parent is asked for what hangs off it.
#: `settled`: while it is open, and until a read that began a while after its end.
#: `final`: until the record that came is final.
#: `daily`: for ever, at most once in `full_every`.
Until = Literal["settled", "final", "daily"]


@dataclass(frozen=True)
class Parents:
    """What a resource's records are asked for by: a request path for each value of some columns."""

    #: Columns that hold the values; their tables have `source`, or `job_id` for a job that has it.
    columns: tuple[Column[Any], ...]
    reads: Reads
    until: Until
    #: The column beside the value that names the record's parent; of a list it is the value itself.
    owner: Column[Any] | None = None
    #: When the parent came to its end, NULL while it goes on. For `settled`.
    ended_at: ColumnElement[datetime | None] | None = None
    #: The column of the resource's own table that names the parent. For a `growing list`.
    named_by: Column[Any] | None = None
    #: The field in which a record itself names its parent, if it does: a saved one needs no more.
    field: str | None = None


@dataclass(frozen=True)
class Days:
    """What a list of days is asked for by: its records are days, and have no id but that.

    It is read from the day that something was first done, and the last days again in each run
    (`costs_reread`), since what is said of a day changes for a while.
    """

    #: Sent with every request, beside the time to begin at.
    params: tuple[tuple[str, str], ...]
    #: The first day is that of the oldest of these in the source's id space.
    since: Column[Any]
    #: The column beside it that says whose days these are, where a record does not say so.
    account: Column[Any]
    #: The id of a record, from its text and from whose it is where that does not say so.
    #: Raises RecordError.
    name: Callable[[bytes, str], str]
    #: The text that takes the place of a day which came again under another id, from that id: with
    #: nothing in it, so that a replay counts the day once as well.
    moved: Callable[[str], bytes]


@dataclass(frozen=True)
class Resource:
    """A kind of record: where it is read, its tables, and how one record becomes rows."""

    #: Its name in commands, in the ledger and in reports.
    name: str
    #: What the API writes under `object` in each of its records; '' where it writes nothing.
    object: str
    #: Where its records are read, one of `etl.api.paths`; to be filled where it has parents.
    path: str
    #: The table with one row a record, keyed by the record's id; None where a record has no row of
    #: its own.
    table: Table | None
    #: One record to its rows, main row first, and what was noted on the way. Pure.
    #: Raises RecordError for a record that cannot become rows.
    rows: Callable[[Record], Iterable[Row | Drift]]
    #: Tables whose rows belong to one record, with the column that names it: replaced whole.
    owned: Mapping[Table, str] = field(default_factory=dict)
    #: Of a table in which others own rows too: the column, and the word in it, that mark its own.
    marks: Mapping[Table, tuple[str, str]] = field(default_factory=dict)
    #: Can the record be expected to stay as it is?
    is_final: Callable[[Record], bool] = never_final
    #: How far along a state is, higher later: decides between two states of no known time.
    progress: Callable[[Record], int] = no_progress
    #: What it hangs off; None for a list of its own.
    parents: Parents | None = None
    #: What it is asked for by; None where its records come one after the other, each with an id.
    days: Days | None = None
    #: Where one record is read by its id, and which rows may still change at a given time: those
    #: are read again though the list is only read to where it was read before.
    item_path: str | None = None
    open_rows: Callable[[datetime], ColumnElement[bool]] | None = None

    @property
    def tables(self) -> tuple[Table, ...]:
        """Its tables, main first."""
        return (*([] if self.table is None else [self.table]), *self.owned)

    def its_own(self, table: Table) -> ColumnElement[bool]:
        """Which rows of one of its tables are its own: all of them, but where others have some."""
        if table not in self.marks:
            return true()
        column, word = self.marks[table]
        return table.c[column] == word

    @cached_property
    def status_column(self) -> int | None:
        """Where a row of its table has the record's status, if it has one."""
        names = [] if self.table is None else self.table.columns.keys()
        return names.index("status") if "status" in names else None

    @cached_property
    def id_length(self) -> int:
        """Longest id that its key takes, in characters."""
        if self.table is None:
            return ID_LENGTH
        length: int = getattr(self.table.c.id.type, "length")  # noqa: B009 - types differ by table
        return length
