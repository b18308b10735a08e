"""Data on stdout: text, JSON, tables. Nothing from outside can steer the terminal."""

from __future__ import annotations

import datetime as dt
import math
import os
import re
import sys
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from json import dumps
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, TextIO

from etl.settings import escaped

if TYPE_CHECKING:
    from rich.console import Console

#: Columns of a table where no terminal says otherwise.
WIDTH = 80
#: Valid inside JSON texts, but a terminal may obey them.
_UNSAFE_IN_JSON = re.compile(
    "[\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def data(text: str) -> None:
    """Write text to stdout, with a newline at its end.

    A pipe or file gets it unchanged. On a terminal, control characters are written out.
    """
    if sys.stdout.isatty():
        text = escaped(text, keep="\n\t")
    sys.stdout.write(text if text.endswith("\n") else f"{text}\n")


def line(text: str) -> None:
    """Write one line for people to stdout: whatever is in it, in a pipe too, it stays one line.

    For what a server or a database said; behind the pipe there may be a terminal after all.
    """
    data(escaped(text))


def json(value: object) -> None:
    """Write one JSON value to stdout: indented on a terminal, else one line.

    Times are UTC and end in `Z`, amounts keep every digit as text, NaN becomes null.
    """
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    text = dumps(_plain(value), ensure_ascii=not utf8, indent=2 if sys.stdout.isatty() else None)
    text = _UNSAFE_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    answers.given = True
    sys.stdout.write(f"{text}\n")


class _Answers:
    """Whether the JSON answer was written, so that a later error does not add a second one."""

    given = False


answers = _Answers()


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dt.date):
        value = _iso(value)
    return str(value) if isinstance(value, Decimal | PurePath) else value


def _iso(value: dt.date) -> str:
    if not isinstance(value, dt.datetime):
        return value.isoformat()
    at = value.astimezone(dt.UTC).replace(tzinfo=None) if value.tzinfo else value
    return f"{at.isoformat()}Z"


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str = "",
    right: Collection[str] = (),
) -> None:
    """Write a table to stdout that fits the terminal, or 80 columns without one.

    Long cells continue below, and lose nothing. Columns of numbers, and those named in `right`,
    stand to the right. A pipe gets plain text: no colour, no lines.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    out = console(sys.stdout)
    rows = [list(row) for row in rows]
    made = Table(
        title=Text(escaped(title)) if title else None,
        title_justify="left",
        box=box.SIMPLE_HEAD if out.is_terminal else None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        show_edge=False,
        header_style="bold",
    )
    for number, name in enumerate(columns):
        cells = [row[number] for row in rows if row[number] is not None]
        is_right = name in right or (
            bool(cells)
            and all(
                isinstance(cell, int | float | Decimal) and not isinstance(cell, bool)
                for cell in cells
            )
        )
        made.add_column(
            Text(escaped(name)), justify="right" if is_right else "left", overflow="fold"
        )
    for row in rows:
        made.add_row(*(Text(_cell(cell)) for cell in row))
    with out.capture() as drawn:
        out.print(made)
    # Written through sys.stdout, so that a pipe that closed is noticed in one place only.
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in drawn.get().splitlines()))


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dt.datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    return escaped(str(value))


def console(stream: TextIO) -> Console:
    """A rich console on this stream: colour only on a terminal, and never with NO_COLOR."""
    from rich.console import Console

    terminal = stream.isatty()
    options: dict[str, Any] = {} if terminal else {"width": _columns()}
    if not terminal or os.environ.get("NO_COLOR"):
        options["color_system"] = None
    # Said outright: FORCE_COLOR and its kin would otherwise colour a file.
    return Console(
        file=stream, force_terminal=terminal, highlight=False, markup=False, emoji=False, **options
    )


def _columns() -> int:
    columns = os.environ.get("COLUMNS", "")
    return int(columns) if columns.isascii() and columns.isdigit() and int(columns) else WIDTH


def flush() -> None:
    """Hand over what was written so far: to somebody who waits for a line."""
    sys.stdout.flush()


def wrapped(text: str, indent: str = "") -> list[str]:
    """The text in lines that fit; what could steer a terminal is written out."""
    from etl.settings import escaped

    return textwrap.wrap(
        escaped(text),
        WIDTH,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_on_hyphens=False,
    )
