"""How the report asks views: by name, a long answer some rows at a time, within some time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    TableClause,
    and_,
    column,
    table,
    true,
)

from etl.db.types import UtcDateTime
from etl.report.figures import (
    Period,
)

#: Rows that a server sends at once.
CHUNK = 5000


def view(name: str, *names: str, times: Iterable[str] = ()) -> TableClause:
    """A view by these columns; those of `times` are moments."""
    moments: list[Any] = [column(one, UtcDateTime()) for one in times]
    return table(name, *(column(one) for one in names), *moments)


def rows(connection: Connection, query: Select[Any]) -> Iterator[Row[Any]]:
    """The rows of a long answer, some at a time."""
    return iter(connection.execute(query, execution_options={"yield_per": CHUNK}))


def within(period: Period, moment: ColumnElement[Any]) -> ColumnElement[bool]:
    """Is the moment within this time?"""
    terms: list[ColumnElement[bool]] = [true()]
    if period.since is not None:
        terms.append(moment >= period.since)
    if period.until is not None:
        terms.append(moment < period.until)
    return and_(*terms)


def month_within(period: Period, month: ColumnElement[Any]) -> ColumnElement[bool]:
    """Has the month any of this time? Of bills there is nothing finer in the views."""
    terms: list[ColumnElement[bool]] = [true()]
    if period.since is not None:
        terms.append(month >= f"{period.since:%Y-%m}")
    if period.until is not None:
        terms.append(month <= f"{period.until - timedelta(microseconds=1):%Y-%m}")
    return and_(*terms)
