"""CSV and JSON Lines: a file a table, a row a line."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from etl.export.kinds import JSON, TEXT, Kind
from etl.export.reading import Row
from etl.spreadsheets import defused

_NEEDS_QUOTES = re.compile('[",\r\n]')
#: Bytes that are held before they are written.
_BUFFER = 1 << 20


class Written(NamedTuple):
    """A file that was written, by its path below the export, and its rows."""

    path: str
    rows: int


def csv(
    folder: Path,
    name: str,
    columns: Mapping[str, Kind],
    batches: Iterable[list[Row]],
    *,
    raw_text: bool = False,
) -> list[Written]:
    """Write a CSV file (RFC 4180, UTF-8, with a header).

    NULL is an empty field, the empty text one in quotes. Unless `raw_text`, what a spreadsheet
    would take for a formula has an apostrophe before it.
    """
    formats = [_csv_format(kind, raw_text=raw_text) for kind in columns.values()]
    header = ",".join(_quoted(column) for column in columns) + "\r\n"
    lines = (",".join(cells) + "\r\n" for cells in _cells(batches, formats, ""))
    return _file(folder, f"{name}.csv", header, lines)


def jsonl(
    folder: Path, name: str, columns: Mapping[str, Kind], batches: Iterable[list[Row]]
) -> list[Written]:
    """Write a file with one JSON object a line: numbers with all digits, JSON as JSON."""
    heads = [f"{json.dumps(column)}: " for column in columns]
    formats = [_json_format(kind) for kind in columns.values()]
    lines = (
        "{" + ", ".join(map(str.__add__, heads, cells)) + "}\n"
        for cells in _cells(batches, formats, "null")
    )
    return _file(folder, f"{name}.jsonl", "", lines)


def _file(folder: Path, path: str, header: str, lines: Iterator[str]) -> list[Written]:
    count = 0
    with (folder / path).open("w", encoding="utf-8", newline="", buffering=_BUFFER) as file:
        file.write(header)
        for line in lines:
            file.write(line)
            count += 1
    return [Written(path, count)]


def _cells(
    batches: Iterable[list[Row]], formats: Sequence[Callable[[Any], str]], null: str
) -> Iterator[tuple[str, ...]]:
    """Each row as text, without what stands behind its columns."""
    for batch in batches:
        columns = list(zip(*batch, strict=True))[: len(formats)]
        yield from zip(
            *(
                [null if value is None else form(value) for value in values]
                for form, values in zip(formats, columns, strict=True)
            ),
            strict=True,
        )


# One value


def _csv_format(kind: Kind, *, raw_text: bool) -> Callable[[Any], str]:
    if kind not in (TEXT, JSON):
        return _PLAIN[kind.name]
    return _quoted if raw_text else _guarded


def _quoted(text: str) -> str:
    """A text as it stands in CSV; never nothing, which is NULL."""
    if not text or _NEEDS_QUOTES.search(text):
        return '"' + text.replace('"', '""') + '"'
    return text


def _guarded(text: str) -> str:
    return _quoted(defused(text))


def _json_format(kind: Kind) -> Callable[[Any], str]:
    if kind == TEXT:
        return _json_text
    if kind == JSON:
        return _one_line
    return _json_float if kind.name == "float" else _json_plain(kind)


def _json_text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _one_line(text: str) -> str:
    """JSON text in one line; in a string of it no line can end."""
    return text.replace("\r", " ").replace("\n", " ")


def _json_float(value: float) -> str:
    return repr(value) if math.isfinite(value) else "null"


def _json_plain(kind: Kind) -> Callable[[Any], str]:
    plain = _PLAIN[kind.name]
    return (lambda value: f'"{plain(value)}"') if kind.name == "timestamp" else plain


def moment(value: datetime) -> str:
    """ISO 8601 in UTC, as `2026-03-01T09:30:00Z`; a fraction only where there is one."""
    return value.replace(tzinfo=None).isoformat() + "Z"


def _digits(value: Decimal) -> str:
    return f"{value:f}"


def _float(value: float) -> str:
    return repr(value) if math.isfinite(value) else {"nan": "NaN"}.get(str(value), str(value))


def _boolean(value: bool) -> str:
    return "true" if value else "false"


_PLAIN: dict[str, Callable[[Any], str]] = {
    "integer": str,
    "float": _float,
    "boolean": _boolean,
    "timestamp": moment,
    "decimal": _digits,
}
