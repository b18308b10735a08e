"""Tables of text: for a terminal of 100 columns, and for Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Row = Sequence[str]


@dataclass(frozen=True)
class Table:
    """A table; its first column is words, the others figures."""

    title: str
    heading: Row
    rows: Sequence[Row]


def plain(table: Table) -> str:
    """Columns in line: the first to the left, the others to the right."""
    heading, rows = table.heading, table.rows
    widths = [max(len(row[place]) for row in [heading, *rows]) for place in range(len(heading))]
    rule = ["─" * width for width in widths]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [heading, rule, *rows]
    )


def markdown(table: Table) -> str:
    """The same as a Markdown table."""
    rule = ["---", *["---:"] * (len(table.heading) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [table.heading, rule, *table.rows])
