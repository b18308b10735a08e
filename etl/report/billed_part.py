"""The part of the page that holds estimates against bills."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from etl.report import charts
from etl.report.bill_queries import BILLED, UNKNOWN_ITEMS
from etl.report.figures import Billed, Figures, months_between
from etl.report.markup import Child, Markup, tag
from etl.report.pieces import (
    MONTH_LINES,
    MONTHS,
    NAME,
    Part,
    amount,
    cut_note,
    details,
    figure_of,
    nothing,
    part,
    short,
    table_of,
)

#: Currencies of bills, each with a chart.
CURRENCIES = 4
_BILLED = [
    *("Estimated", "Jobs without a price", "Billed for training", "Difference"),
    "Billed for other things",
]


@dataclass
class _Bill:
    """What some lines of the reconciliation come to, of one currency."""

    estimated: int = 0
    unpriced_jobs: int = 0
    #: None where nothing of the bill was read.
    training: int | None = None
    other: int | None = None
    #: What was billed for training less the estimate of the same time.
    difference: int | None = None

    @classmethod
    def of(cls, lines: Iterable[Billed]) -> _Bill:
        """These lines, added up."""
        whole = cls()
        for one in lines:
            whole.estimated += one.estimated
            whole.unpriced_jobs += one.unpriced_jobs
            if one.training is not None:
                whole.training = (whole.training or 0) + one.training
                whole.difference = (whole.difference or 0) + one.training - one.estimated
            if one.other is not None:
                whole.other = (whole.other or 0) + one.other
        return whole

    def cells(self) -> list[str]:
        """Its cells, under _BILLED."""
        return [
            amount(self.estimated),
            f"{self.unpriced_jobs:,}",
            *map(_billed, (self.training, self.difference, self.other)),
        ]


def _billed(nano: int | None) -> str:
    return "not read" if nano is None else amount(nano)


def reconciliation(figures: Figures) -> Part:
    """What training should have cost, and what was billed."""
    title = "Estimated and billed"
    sentence = (
        "What training should have cost by the price book beside what OpenAI billed for it, by UTC "
        "month; jobs of other providers are left out, but for those seen through a proxy in front "
        "of OpenAI. The bill counts use to the day it happened, the estimate to the day on which "
        "the job ended, so single months differ."
    )
    if not figures.has_bills:
        return part(
            "billed",
            title,
            sentence,
            tag(
                "p",
                tag("strong", "Nothing yet."),
                " Billed costs are read with an admin key of the organization: put it into ",
                tag("code", "OPENAI_ADMIN_KEY"),
                " (or give a source its ",
                tag("code", "admin_key_env"),
                "), then run ",
                tag("code", "ftmirror sync --resource costs --resource projects"),
                ".",
                class_="nothing",
            ),
        )
    if not figures.billed:
        said = "Neither a job nor a bill is mirrored for these months."
        return part("billed", title, sentence, nothing(said))
    by_currency: dict[str, list[Billed]] = {}
    for one in figures.billed:
        by_currency.setdefault(one.currency, []).append(one)
    currencies = sorted(by_currency, key=lambda one: (one != "usd", one))
    content: list[Child] = [tag("p", said) for said in _missing(figures.billed)]
    content += [_bill(currency, by_currency[currency]) for currency in currencies[:CURRENCIES]]
    lines: list[Sequence[Child]] = [
        [
            one.month,
            short(one.project_name or one.project_id, NAME) or "not named",
            one.currency.upper(),
            *_Bill.of([one]).cells(),
        ]
        for one in figures.billed
    ]
    content.append(
        details(
            "By month and project",
            table_of(
                "Estimated and billed by month and project",
                ["Month", "Project", "Currency", *_BILLED],
                lines,
                numbers=(3, 4, 5, 6, 7),
                most=BILLED,
                rest="SELECT * FROM spend_reconciliation",
            ),
        )
    )
    if figures.unknown_items:
        content += [
            tag("h3", "Line items that no pattern knows"),
            tag(
                "p",
                "Whether they are training is not known; they count as billed for other things.",
            ),
            table_of(
                "Line items that no pattern knows",
                ["Line item", "Currency", "Billed"],
                [
                    [
                        short(one.name, 120) or "(no name)",
                        one.currency.upper(),
                        amount(one.amount),
                    ]
                    for one in figures.unknown_items
                ],
                numbers=(2,),
                most=UNKNOWN_ITEMS,
                rest="SELECT * FROM billed_line_items WHERE kind IS NULL",
            ),
        ]
    return part("billed", title, sentence, *content)


def _missing(billed: Sequence[Billed]) -> Iterator[str]:
    """Why the two sides of some lines cannot be held against each other."""
    if any(one.training is None for one in billed):
        yield (
            "Of some months no day was read from the bill: what was billed then is not known, and "
            "their estimate is in no difference."
        )
    if any(not one.project_id and (one.estimated or one.unpriced_jobs) for one in billed):
        yield (
            "Jobs of sources without a project in the configuration stand in a line without one, "
            "while the bill names their project; give each source its project."
        )


def _bill(currency: str, billed: Sequence[Billed]) -> Markup:
    by_month: dict[str, list[Billed]] = {}
    for one in billed:
        by_month.setdefault(one.month, []).append(one)
    months = {month: _Bill.of(some) for month, some in by_month.items()}
    drawn = months_between(sorted(months), MONTHS)
    names = ["estimated", "billed"]
    rows = [
        {"month": month, "name": name, "value": value / 1e9}
        for month in drawn
        if month in months
        for name, value in zip(
            names, (months[month].estimated, months[month].training), strict=True
        )
        if value is not None
    ]
    whole = _Bill.of(billed)
    lines = [[month, *one.cells()] for month, one in sorted(months.items(), reverse=True)]
    shown = currency.upper()
    return figure_of(
        f"Bars by month, side by side, in {shown}: estimated {amount(whole.estimated)} in all, "
        f"billed for training {_billed(whole.training)}.",
        tag("p", shown, class_="unit"),
        charts.grouped(rows, drawn, names, (0, 1), "number"),
        legend=[("estimated", 0), ("billed for training", 1)],
        table=table_of(
            f"Estimated and billed, {shown}",
            ["Month", *_BILLED],
            lines,
            foot=["All", *whole.cells()],
            most=MONTH_LINES,
        ),
        note=cut_note(sorted(months), drawn),
    )
