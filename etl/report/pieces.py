"""What the parts of the page are made of: figures, tables, and how a value is written."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal

from etl.report import charts
from etl.report.figures import Sum
from etl.report.markup import Child, Markup, joined, tag

#: Months that a chart shows; a table shows them all, up to a limit of its own.
MONTHS, MONTH_LINES = 60, 240

#: Models and projects in a table.
LINES = 40
#: Characters of a name.
NAME = 60


Part = tuple[str, str, Markup]


def part(identifier: str, title: str, sentence: str, *content: Child) -> Part:
    """A part: its title, a sentence that says what it shows and how it is counted, and that."""
    made = tag(
        "section",
        tag("h2", title, id=f"{identifier}-title"),
        tag("p", sentence, class_="lead"),
        *content,
        id=identifier,
        aria_labelledby=f"{identifier}-title",
    )
    return identifier, title, made


def nothing(said: str) -> Markup:
    """What stands in a part that has nothing to show, and why."""
    return tag("p", tag("strong", "Nothing yet."), f" {said}", class_="nothing")


def figure_of(
    label: str,
    *drawing: Child,
    table: Markup,
    legend: Sequence[tuple[str, int]] = (),
    note: str = "",
) -> Markup:
    """A chart, described as one picture, with its legend and its numbers."""
    keys = [
        tag("li", tag("span", class_=f"key {charts.swatch(number)}"), short(name))
        for name, number in legend
    ]
    return joined(
        tag(
            "figure",
            tag("ul", keys, class_="legend") if keys else None,
            tag("div", *drawing, role="img", aria_label=label, class_="chart"),
            tag("figcaption", note) if note else None,
        ),
        details("The numbers", table),
    )


def details(summary: str, content: Child) -> Markup:
    """What is there for who opens it, and in print."""
    return tag("details", tag("summary", summary), content)


def numbers_of(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[Child]], foot: Sequence[Child]
) -> Markup:
    """A table of its own, for who opens it."""
    return details(title, table_of(title, columns, rows, foot=foot, most=LINES))


def table_of(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Child]],
    *,
    most: int,
    foot: Sequence[Child] = (),
    numbers: Sequence[int] | None = None,
    rest: str = "",
) -> Markup:
    """A table that scrolls to the side where it must. The first column names the rows.

    `numbers`: the columns that stand to the right; all but the first, unless told.
    """
    right = set(range(1, len(columns)) if numbers is None else numbers)

    def cells(row: Sequence[Child]) -> list[Child]:
        return [
            tag("th", cell, scope="row")
            if place == 0
            else tag("td", cell, class_="n" if place in right else None)
            for place, cell in enumerate(row)
        ]

    head = [
        tag("th", short(name), scope="col", class_="n" if place in right else None)
        for place, name in enumerate(columns)
    ]
    left_out = len(rows) - most
    return joined(
        tag(
            "div",
            tag(
                "table",
                tag("thead", tag("tr", head)),
                tag("tbody", [tag("tr", cells(row)) for row in rows[:most]]),
                tag("tfoot", tag("tr", cells(foot))) if foot else None,
            ),
            class_="scroll",
            role="region",
            aria_label=short(title, 80),
            tabindex="0",
        ),
        tag(
            "p",
            f"{left_out:,} more lines are not shown here.",
            [" ", tag("code", rest)] if rest else None,
        )
        if left_out > 0
        else None,
    )


def cut_note(known: Sequence[str], drawn: Sequence[str]) -> str:
    """What to say where a chart begins later than its numbers."""
    return (
        f"Drawn from {drawn[0]} on; earlier months are in the numbers."
        if known[0] < drawn[0]
        else ""
    )


SUMS = ["Cost", "of it uncertain", "Jobs", "Trained tokens", "Without a price", "Open"]


def sums(one: Sum) -> list[str]:
    """The cells of a sum, under SUMS."""
    return [
        money(one.microusd),
        money(one.uncertain),
        f"{one.jobs:,}",
        f"{one.tokens:,}",
        f"{one.unpriced_jobs:,}",
        f"{one.open_jobs:,}",
    ]


def model_name(name: str | None) -> str:
    """A model as people may read it."""
    return short(name) if name else "model not named"


def short(text: str | None, most: int = NAME) -> str:
    """A text, with its middle left out where it is long."""
    return charts.shortened(text or "", most)


def jobs_text(count: int) -> str:
    """`1 job`, `2 jobs`."""
    return "1 job" if count == 1 else f"{count:,} jobs"


def at(moment: dt.datetime) -> str:
    """A moment, to the minute."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def measure(value: float) -> str:
    """Four digits of a measurement."""
    return f"{value:.4g}"


def length(seconds: int) -> str:
    """A length of time, as `42 s`, `12 min` or `3.4 h`."""
    if seconds < 120:
        return f"{seconds:,} s"
    return f"{seconds / 60:,.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def money(microusd: int) -> str:
    """Dollars and cents; of less than half a cent, what it is."""
    if 0 < abs(microusd) < 5000:
        return f"{'-' if microusd < 0 else ''}${Decimal(abs(microusd)).scaleb(-6).normalize():f}"
    cents = (abs(microusd) + 5000) // 10000
    return f"{'-' if microusd < 0 else ''}${cents // 100:,}.{cents % 100:02d}"


def amount(nano: int) -> str:
    """An amount in any currency, to the cent."""
    cents = (abs(nano) + 5_000_000) // 10_000_000
    return f"{'-' if nano < 0 and cents else ''}{cents // 100:,}.{cents % 100:02d}"
