"""The lines of a result file: which step each is of, and what was measured there."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from etl.errors import RecordError
from etl.fields import INT64, Drift, clean, example
from etl.resources.metrics.content import STEP, is_step, style, table
from etl.resources.metrics.tables import NAME_LENGTH

_WHOLE = re.compile(r"[+-]?[0-9]{1,19}\Z")
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]*,[0-9]+(?:[eE][+-]?[0-9]+)?\Z")

#: One line: its step, and its cells by place.
Line = tuple[int, list[str]]


class Notes:
    """Drift in a file, each kind in a column made once however often it is noted."""

    def __init__(self) -> None:
        self.found: list[Drift] = []
        self._made: dict[tuple[str, str], Drift] = {}

    def add(self, path: str, kind: str, value: str) -> None:
        """Note something; all notes of one path and kind share the first one's example."""
        made = self._made.get((path, kind))
        if made is None:
            made = self._made[path, kind] = Drift(clean(path), kind, example(value))
        self.found.append(made)


@dataclass(frozen=True)
class Columns:
    """Where a file's header puts what."""

    step: int
    #: Place and name of each metric.
    metrics: list[tuple[int, str]]
    #: Places of columns that have no name, but for those at the end.
    unnamed: list[int]
    #: How many cells a whole line has, up to the last column with a name.
    width: int


class ResultFile:
    """A result file, read line by line as often as it takes, never held as lines.

    Raises RecordError, here or while it is read, for bytes that are no table in UTF-8.
    """

    def __init__(self, payload: bytes) -> None:
        self._text, self._delimiter = table(payload)

    def columns(self, notes: Notes) -> Columns:
        """The header. Of two columns of one name the last counts."""
        places: dict[str, int] = {}
        unnamed: list[int] = []
        width = 0
        for place, cell in enumerate(next(self._rows([]), [])):
            name = clean(cell.strip())
            if name:
                width = place + 1
            if not name:
                unnamed.append(place)
                continue
            if name != cell.strip():
                notes.add(name, "replaced_characters", cell)
            if len(name) > NAME_LENGTH:
                notes.add(name, "too_long", name)
                continue
            name = STEP if is_step(name) else name
            if name in places:
                notes.add(name, "unknown_field", f"a second column {name}")
            places[name] = place
        step = places.pop(STEP, -1)
        metrics = [(place, name) for name, place in places.items()]
        return Columns(step, metrics, [place for place in unnamed if place < width], width)

    def _rows(self, last: list[str]) -> Iterator[list[str]]:
        """The cells of each line; `last` is kept at the text of the line that came last."""
        text = io.TextIOWrapper(io.BytesIO(self._text), encoding="utf-8", newline="")

        def watched() -> Iterator[str]:
            for line in text:
                last[:] = [line]
                yield line

        reader = csv.reader(watched(), **style(self._delimiter))
        try:
            yield from reader
        except csv.Error as error:
            raise RecordError(f"line {reader.line_num} of the table: {error}") from error
        except UnicodeDecodeError as error:
            raise RecordError("the table is not UTF-8") from error

    def lines(self, notes: Notes) -> Iterator[Line]:
        """Every line that says a step, in the file's order; what is odd about any is noted."""
        columns = self.columns(Notes())
        last: list[str] = []
        rows = self._rows(last)
        next(rows, None)
        for cells in rows:
            if not any(cell and not cell.isspace() for cell in cells):
                continue
            lacking = columns.width - len(cells)
            if lacking > 0:
                if not last[0].endswith(("\n", "\r")):
                    # The file ends in the middle of a line, perhaps in the middle of a number.
                    notes.add("content", "missing", f"the last line is cut: {last[0]}")
                    continue
                cells.extend([""] * lacking)
            step = self._step(cells[columns.step].strip(), notes)
            if step is None:
                continue
            for place in (*columns.unnamed, *range(columns.width, len(cells))):
                if place < len(cells) and cells[place].strip():
                    notes.add("[]", "unknown_field", cells[place])
            yield step, cells

    def _step(self, cell: str, notes: Notes) -> int | None:
        if not cell:
            notes.add(STEP, "missing", cell)
            return None
        if _WHOLE.match(cell):
            step = int(cell)
        else:
            number = self.number(cell, STEP, notes)
            if number is None:
                return None
            if not number.is_integer():
                notes.add(STEP, "wrong_type", cell)
                return None
            step = int(number)
        if not -INT64 <= step < INT64:
            notes.add(STEP, "out_of_range", cell)
            return None
        return step

    def number(self, cell: str, name: str, notes: Notes) -> float | None:
        """What a cell that is not blank measured; None, and a note, where that is no number."""
        try:
            # Python reads `1_000` and other scripts' digits, which no file means.
            value = float(cell) if cell.isascii() and "_" not in cell else None
        except ValueError:
            value = None
        if value is None and self._delimiter != "," and _DECIMAL_COMMA.match(cell):
            notes.add(name, "wrong_type", cell)
            value = float(cell.replace(",", "."))
        elif value is None:
            notes.add(name, "wrong_type", cell)
            return None
        if not math.isfinite(value):
            notes.add(name, "out_of_range", cell)
            return None
        return value
