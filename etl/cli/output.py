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
#: Spaces between two columns: in a pipe, and on a terminal.
GAP, GAP_ON_TERMINAL = 2, 3
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
    indent = 2 if sys.stdout.isatty() else None
    text = dumps(_plain(value), ensure_ascii=not speaks_utf8(), indent=indent)
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

    Long cells continue below, and lose nothing; no word is cut in two, and where a single one is
    wider than the line, the line is longer. Columns of numbers, and those named in `right`, stand
    to the right. A pipe gets plain text: no colour, no lines.
    """
    from etl.cli.table import Shape, drawn

    lines = [list(row) for row in rows]
    is_right = [
        name in right or _are_numbers(row[number] for row in lines)
        for number, name in enumerate(columns)
    ]
    is_terminal = sys.stdout.isatty()
    width, bold = WIDTH, ("", "")
    if is_terminal:
        out = console(sys.stdout)
        width = out.width
        bold = ("\x1b[1m", "\x1b[0m") if out.color_system else bold
    else:
        width = _columns()
    shape = Shape(width, GAP_ON_TERMINAL if is_terminal else GAP, is_right)
    head, *body = drawn(
        [escaped(name) for name in columns], [[_cell(cell) for cell in row] for row in lines], shape
    )
    made = [*([escaped(title)] if title else []), *head]
    made = [f"{bold[0]}{line}{bold[1]}" for line in made]
    if is_terminal:
        most = max(map(len, [*head, *(line for some in body for line in some)]))
        made.append(("─" if speaks_utf8() else "-") * min(most, width))
    made += [line for some in body for line in some]
    # Written through sys.stdout, so that a pipe that closed is noticed in one place only.
    sys.stdout.write("".join(f"{line}\n" for line in made))


def _are_numbers(cells: Iterable[object]) -> bool:
    found = [cell for cell in cells if cell is not None]
    return bool(found) and all(
        isinstance(cell, int | float | Decimal) and not isinstance(cell, bool) for cell in found
    )


def speaks_utf8() -> bool:
    """Can stdout show any character?"""
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dt.datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    return escaped(str(value))


def console(stream: TextIO) -> Console:
    """A rich console on this stream: colour only on a terminal, and never with NO_COLOR.

    Nor with CLICOLOR=0. No variable colours a pipe or a file.
    """
    from rich.console import Console

    terminal = stream.isatty()
    options: dict[str, Any] = {} if terminal else {"width": _columns()}
    if not terminal or os.environ.get("NO_COLOR") or os.environ.get("CLICOLOR") == "0":
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


def hanging(first: str, text: str, indent: int) -> list[str]:
    """The text behind `first`, in lines that fit, the others indented so far.

    No path, URL or id is cut in two, so one line may be longer.
    """
    return textwrap.wrap(
        escaped(text),
        WIDTH,
        initial_indent=escaped(first),
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
        break_long_words=False,
    )


def wrapped(text: str, indent: str = "") -> list[str]:
    """The text in lines that fit; what could steer a terminal is written out."""
    return textwrap.wrap(
        escaped(text),
        WIDTH,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_on_hyphens=False,
    )
