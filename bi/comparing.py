"""What a chart shows beside what the views say, row by row."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

QUESTIONS = Path(__file__).parent / "questions.sql"
#: Figures are the same when they differ by less than this part: one side adds floats.
ROOM = 1e-11
_HEADING = re.compile(r"^-- (\w+)(?: \((\w+)\))?$", re.MULTILINE)
#: What Superset calls a column of times.
_TIME = 2

Cell = str | float | bool | None
Rows = list[tuple[Cell, ...]]


@dataclass(frozen=True)
class Question:
    """What a chart has to show: a query, and the column whose sum stands for it, if any."""

    sql: str
    figure: str | None


@dataclass(frozen=True)
class Answer:
    """The rows of an answer in an order of their own, and which column stands for them."""

    rows: Rows
    place: int | None

    @property
    def figure(self) -> str:
        """A few words for a table: the figure itself, or how many rows and what they sum to."""
        if self.place is None:
            return f"{len(self.rows):,} rows"
        numbers = [cell for row in self.rows if isinstance(cell := row[self.place], float)]
        total = _shown(sum(numbers)) if numbers else "nothing yet"
        return total if len(self.rows) == 1 else f"{len(self.rows):,} rows, {total}"


def questions() -> dict[str, Question]:
    """Each chart's question, by the name of the chart's file."""
    text = QUESTIONS.read_text()
    pieces = _HEADING.split(text)[1:]
    return {
        name: Question(sql.strip().removesuffix(";"), figure)
        for name, figure, sql in zip(pieces[0::3], pieces[1::3], pieces[2::3], strict=True)
    }


def of_views(engine: Engine, question: Question) -> Answer:
    """Ask the views themselves."""
    with engine.connect() as connection:
        answer = connection.exec_driver_sql(question.sql)
        names = list(answer.keys())
        rows = [tuple(_cell(value) for value in row) for row in answer]
    place = None if question.figure is None else names.index(question.figure)
    return Answer(sorted(rows, key=_order), place)


def of_chart(shown: dict[str, Any], place: int | None) -> Answer:
    """What Superset answered, with its columns in its order; the same column stands for it."""
    names = shown["colnames"]
    kinds = dict(zip(names, shown["coltypes"], strict=True))
    rows = [
        tuple(_read(row[name], kinds[name] == _TIME) for name in names) for row in shown["data"]
    ]
    return Answer(sorted(rows, key=_order), place)


def same(low: Answer, found: Answer, high: Answer) -> bool:
    """Is every cell what the views say, or between what they said before and after?

    Only an age differs between before and after, and it grows.
    """
    if not len(low.rows) == len(found.rows) == len(high.rows):
        return False
    cells = zip(_flat(low.rows), _flat(found.rows), _flat(high.rows), strict=True)
    return all(_between(before, cell, after) for before, cell, after in cells)


def _between(before: Cell, cell: Cell, after: Cell) -> bool:
    if isinstance(before, float) and isinstance(cell, float) and isinstance(after, float):
        room = ROOM * max(abs(before), abs(after), 1e-12)
        return before - room <= cell <= after + room
    return before == cell == after


def _flat(rows: Rows) -> list[Cell]:
    return [cell for row in rows for cell in row]


def _shown(number: float) -> str:
    if number == int(number):
        return f"{number:,.0f}"
    return f"{number:,.2f}" if abs(number) >= 100 else f"{number:.6g}"


def _order(row: Sequence[Cell]) -> list[tuple[bool, str]]:
    """Texts decide first, since figures may differ by a hair."""
    texts = [(cell is not None, str(cell)) for cell in row if not isinstance(cell, float)]
    return texts + [(True, f"{cell:.6e}") for cell in row if isinstance(cell, float)]


def _cell(value: Any) -> Cell:
    """A value of the database's, as Superset's JSON would have it."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC).timestamp() * 1000
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float | Decimal):
        return float(value)
    return str(value)


def _read(value: Any, is_time: bool) -> Cell:
    if is_time and isinstance(value, str):
        return datetime.fromisoformat(value).replace(tzinfo=UTC).timestamp() * 1000
    return _cell(value)


def table(lines: Iterable[Sequence[str]]) -> str:
    """Lines of cells as text, each column as wide as it needs."""
    held = [list(line) for line in lines]
    widths = [max(len(line[place]) for line in held) for place in range(len(held[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in held
    )
