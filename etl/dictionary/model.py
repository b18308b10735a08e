"""What the dictionary holds: plain values, from the declared tables and the views' explanations."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Double, Integer, Table
from sqlalchemy.types import TypeEngine

from etl.db import explained
from etl.db.tables import lease_metadata, metadata
from etl.db.types import Exact, Json, LongText, Name, UtcDateTime
from etl.errors import UsageError
from etl.resource import Resource
from etl.resources import discover

#: What tables are for, in the order in which people ask, with a heading.
GROUPS = {
    "jobs": "Jobs",
    "children": "What hangs off jobs",
    "money": "Money and projects",
    "bookkeeping": "Bookkeeping",
}

#: The first that fits says what a value is, as `etl.db.explained.TYPES` has it.
_WORDS: tuple[tuple[tuple[type[TypeEngine[Any]], ...], str], ...] = (
    ((Name, LongText), "text"),
    ((Json,), "json"),
    ((UtcDateTime,), "timestamp"),
    ((Exact,), "decimal"),
    ((Boolean,), "boolean"),
    ((Integer, BigInteger), "integer"),
    ((Double,), "number"),
)


@dataclass(frozen=True)
class DictionaryColumn:
    """One column, of a table or a view."""

    name: str
    #: One of `etl.db.explained.TYPES`.
    type: str
    comment: str
    #: Is it part of the table's key?
    is_key: bool
    #: May it be NULL?
    is_nullable: bool
    #: Columns that hold what stands in it, as `table.column`.
    refers_to: tuple[str, ...]
    #: May there be no such row, though it is not NULL?
    may_lack: bool


@dataclass(frozen=True)
class DictionaryTable:
    """One table."""

    name: str
    #: One of `GROUPS`.
    group: str
    comment: str
    columns: tuple[DictionaryColumn, ...]


@dataclass(frozen=True)
class DictionaryView:
    """One view, with a question that it answers."""

    name: str
    #: One of `etl.db.explained.TOPICS`.
    topic: str
    summary: str
    #: Markdown; '' where the summary says all.
    note: str
    columns: tuple[explained.ViewColumn, ...]
    question: str
    sql: str
    #: Commands that bring the demo's mirror the rows which the question is about.
    before: tuple[str, ...]


@dataclass(frozen=True)
class Reference:
    """One column that holds what stands in another table's."""

    table: str
    column: str
    other_table: str
    other_column: str
    #: Is there always such a row?
    is_certain: bool


@dataclass(frozen=True)
class Dictionary:
    """All there is to know of what a database of ours holds."""

    tables: tuple[DictionaryTable, ...]
    views: tuple[DictionaryView, ...]

    def only(self, names: Collection[str]) -> Dictionary:
        """Only these tables and views. Raises UsageError for what is not there."""
        known = [*(one.name for one in self.views), *(one.name for one in self.tables)]
        problems = [_unknown(name, known) for name in names if name not in known]
        if problems:
            raise UsageError("; ".join(problems))
        return Dictionary(
            tuple(one for one in self.tables if one.name in names),
            tuple(one for one in self.views if one.name in names),
        )

    def references(self) -> Iterator[Reference]:
        """How these tables refer to each other."""
        names = {table.name for table in self.tables}
        for table in self.tables:
            for column in table.columns:
                for target in column.refers_to:
                    other_table, _, other_column = target.partition(".")
                    if other_table in names:
                        is_certain = not (column.is_nullable or column.may_lack)
                        yield Reference(
                            table.name, column.name, other_table, other_column, is_certain
                        )


def build() -> Dictionary:
    """The whole dictionary, from what this version declares; no database is asked."""
    resources = discover().values()
    declared = dict.fromkeys(table for one in resources for table in one.tables)
    declared |= dict.fromkeys((*metadata.tables.values(), *lease_metadata.tables.values()))
    order = list(GROUPS)
    tables = [_table(table, resources) for table in declared]
    topics = explained.TOPICS
    views = [_view(name, view) for name, view in explained.views().items()]
    return Dictionary(
        tuple(sorted(tables, key=lambda one: order.index(one.group))),
        tuple(sorted(views, key=lambda one: topics.index(one.topic))),
    )


def as_json(dictionary: Dictionary) -> dict[str, Any]:
    """The dictionary for machines."""
    return asdict(dictionary)


def _table(table: Table, resources: Collection[Resource]) -> DictionaryTable:
    owner = next((one for one in resources if table in one.tables), None)
    columns = tuple(_column(column) for column in table.columns)
    return DictionaryTable(table.name, _group(table, owner), table.comment or "", columns)


def _group(table: Table, owner: Resource | None) -> str:
    if owner is None:
        return str(table.info.get("group", "bookkeeping"))
    if owner.parents is not None:
        return "children"
    return "jobs" if owner.item_path is not None else "money"


def _column(column: Column[Any]) -> DictionaryColumn:
    return DictionaryColumn(
        name=column.name,
        type=next(word for kinds, word in _WORDS if isinstance(column.type, kinds)),
        comment=column.comment or "",
        is_key=column.primary_key,
        is_nullable=bool(column.nullable),
        refers_to=tuple(column.info.get("refers_to", ())),
        may_lack=bool(column.info.get("may_lack")),
    )


def _view(name: str, view: explained.Explained) -> DictionaryView:
    return DictionaryView(
        name=name,
        topic=view.topic,
        summary=view.summary,
        note=view.note,
        columns=view.columns,
        question=view.question,
        sql=view.sql,
        before=view.before,
    )


def _unknown(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}?" if close else "`ftmirror schema` lists what there is"
    return f"there is no table or view {name!r}; {hint}"
