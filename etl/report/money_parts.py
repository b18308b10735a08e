"""The parts of the page that tell of money: when, for what, for whom, how sure, and billed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from etl.report import charts
from etl.report.figures import Billed, Cost, Figures, Sum, Tags, months_between
from etl.report.markup import Child, Markup, joined, tag
from etl.report.pieces import (
    LINES,
    MONTH_LINES,
    MONTHS,
    NAME,
    SUMS,
    Part,
    amount,
    cut_note,
    details,
    figure_of,
    model_name,
    money,
    nothing,
    numbers_of,
    part,
    short,
    sums,
    table_of,
)
from etl.report.queries import BILLED, UNKNOWN_ITEMS

#: Models with a colour of their own; the others are one.
COLOURED = 6


#: Days that are shown one by one; of a longer time, the last one of each month is.
DAYS = 100
#: Currencies of bills, each with a chart.
CURRENCIES = 4


CERTAINTIES = {
    "list_price": "Tokens times the list price.",
    "estimate": "Training time times the list price; the bill may name other hours.",
    "uncertain": "Priced, but maybe not billed like that.",
    "unpriced": "No figure at all: counted as nothing in every sum.",
    "open": "Has not ended: costs nothing yet.",
}


#: Why a figure is not sure, and what can be done.
REASONS = {
    "failed": "The job failed; whether its tokens are billed is not documented.",
    "cancelled": "The job was cancelled; whether its tokens are billed is not documented.",
    "stopped_before_training": "The job ended before training began.",
    "free_allowance": "Some tokens were free in that time; the API does not say which.",
    "free": "Azure does not bill failed jobs.",
    "open": "The job is still under way.",
    "unknown_status": "The job has a status that this version does not know.",
    "unknown_method": "The job has a method that this version does not know.",
    "negative_tokens": "The API says fewer than no tokens.",
    "no_usage": "The API does not say how many tokens or hours it was.",
    "absurd_quantity": "The API says more than can be true.",
    "no_price": "The price book does not know the model: add it to your own price file.",
    "outside_price_dates": "The model has prices, but none for the day on which the job began.",
}


def by_month(figures: Figures) -> Part:
    """Spend by month and model, and by model and method."""
    spend = figures.spend
    sentence = (
        "Each bar is a UTC month, each colour a base model; a job counts to the month in which it "
        "ended, and a model that was fine-tuned before counts as the one under it."
    )
    if not spend.months:
        said = "No job is mirrored for these days. `ftmirror sync` brings them."
        return part("months", "Spend by month and model", sentence, nothing(said))
    ranked = sorted(spend.models, key=lambda one: (-spend.models[one].microusd, one or ""))
    paid = [one for one in ranked if spend.models[one].microusd]
    own, others = paid[:COLOURED], paid[COLOURED:]
    columns: list[tuple[str, list[str | None]]] = [(model_name(one), [one]) for one in own]
    if others:
        columns.append((f"{len(others)} other models", others))
    colours = [*range(len(own)), *([-1] if others else [])]
    known = sorted(spend.months)
    drawn = months_between(known, MONTHS)

    def of(month: str, models: list[str | None]) -> int:
        return sum(spend.months_models.get((month, one), 0) for one in models)

    names = [name for name, _ in columns]
    rows = [
        {"month": month, "name": str(number), "value": value / 1e6}
        for month in drawn
        for number, (_, models) in enumerate(columns)
        if (value := of(month, models))
    ]
    lines = [
        [
            month,
            *[money(of(month, models)) for _, models in columns],
            money(one.microusd),
            f"{one.jobs:,}",
            f"{one.tokens:,}",
            f"{one.unpriced_jobs:,}",
        ]
        for month, one in sorted(spend.months.items(), reverse=True)
    ]
    total = spend.total
    foot = [
        "All",
        *[money(sum(spend.models[one].microusd for one in models)) for _, models in columns],
        money(total.microusd),
        f"{total.jobs:,}",
        f"{total.tokens:,}",
        f"{total.unpriced_jobs:,}",
    ]
    top = max(spend.months.items(), key=lambda item: item[1].microusd)
    label = (
        f"Stacked bars of spend by month from {drawn[0]} to {drawn[-1]}, {money(total.microusd)} "
        f"in all; the most, {money(top[1].microusd)}, in {top[0]}."
    )
    figure = figure_of(
        label,
        charts.stacked(rows, drawn, [str(one) for one in range(len(names))], colours, "$")
        if rows
        else nothing("No job of these days has a price."),
        legend=list(zip(names, colours, strict=True)),
        table=table_of(
            "Spend by month and model",
            ["Month", *names, "Total", "Jobs", "Trained tokens", "Without a price"],
            lines,
            foot=foot,
            most=MONTH_LINES,
        ),
        note=cut_note(known, drawn),
    )
    return part("months", "Spend by month and model", sentence, figure, _models(figures))


def _models(figures: Figures) -> Markup:
    models = figures.spend.models
    ranked = sorted(models.items(), key=lambda item: (-item[1].microusd, item[0] or ""))
    rows = [[model_name(name), *sums(one)] for name, one in ranked]
    methods = sorted(
        figures.spend.methods.items(), key=lambda item: (-item[1].microusd, item[0] or "")
    )
    return joined(
        numbers_of(
            "Spend by model", ["Model", *SUMS], rows, foot=["All", *sums(figures.spend.total)]
        ),
        numbers_of(
            "Spend by method",
            ["Method", *SUMS],
            [[short(name) if name else "not named", *sums(one)] for name, one in methods],
            foot=["All", *sums(figures.spend.total)],
        ),
    )


def cumulative(figures: Figures) -> Part:
    """How spend rose."""
    title = "Spend so far"
    days = sorted(day for day, value in figures.spend.days.items() if value)
    first, last = (
        (dt.date.fromisoformat(days[0]), dt.date.fromisoformat(days[-1])) if days else (None, None)
    )
    is_daily = first is not None and last is not None and (last - first).days <= DAYS
    sentence = (
        "What had been spent by the end of each "
        f"{'UTC day' if is_daily else 'UTC month'}, counted from the first of these jobs."
    )
    if not days:
        return part("so-far", title, sentence, nothing("No job of these days has a price."))
    spent: dict[str, int] = {}
    for day in days:
        key = day if is_daily else day[:7]
        spent[key] = spent.get(key, 0) + figures.spend.days[day]
    keys = list(spent) if is_daily else months_between(list(spent), MONTH_LINES)
    reached = list(accumulate(spent.get(key, 0) for key in keys))
    missing = sum(spent.values()) - reached[-1]
    reached = [value + missing for value in reached]
    rows = [
        {"day": key if is_daily else _month_end(key), "value": value / 1e6}
        for key, value in zip(keys, reached, strict=True)
    ]
    start = keys[0] if is_daily else f"{keys[0]}-01"
    rows.insert(0, {"day": start, "value": missing / 1e6})
    lines = [
        [key, money(spent.get(key, 0)), money(value)]
        for key, value in zip(keys, reached, strict=True)
    ][::-1]
    figure = figure_of(
        f"A line that rises from nothing to {money(reached[-1])} between {keys[0]} and {keys[-1]}.",
        charts.rising(rows, "$", is_daily=is_daily),
        table=table_of(
            title, ["Day" if is_daily else "Month", "Spend", "So far"], lines, most=MONTH_LINES
        ),
    )
    return part("so-far", title, sentence, figure)


def _month_end(month: str) -> str:
    year, number = int(month[:4]), int(month[5:7])
    following = (
        dt.date(year + number // 12, number % 12 + 1, 1)
        if (year, number) != (9999, 12)
        else dt.date.max
    )
    return (following - dt.timedelta(days=1)).isoformat()


def dearest(figures: Figures) -> Part:
    """The jobs that cost most."""
    title = "Most expensive jobs"
    sentence = "The jobs of these days that cost most, with how sure that is."
    jobs = figures.spend.dearest
    if not jobs:
        return part("dearest", title, sentence, nothing("No job of these days has a price."))
    rows = [
        {
            "name": _called(one),
            "value": one.microusd / 1e6,
            "label": money(one.microusd),
        }
        for one in jobs[:10]
    ]
    lines: list[Sequence[Child]] = [
        [
            tag("code", short(one.job_id, 80)),
            short(one.suffix, NAME) if one.suffix else "",
            short(one.model, 80) if one.model else "",
            short(one.method) if one.method else "",
            short(one.status) if one.status else "",
            f"{one.spent_at:%Y-%m-%d}",
            "" if one.tokens is None else f"{one.tokens:,}",
            money(one.microusd),
            one.certainty.replace("_", " "),
        ]
        for one in jobs
    ]
    share = sum(one.microusd for one in jobs) * 100 / (figures.spend.total.microusd or 1)
    figure = figure_of(
        f"Bars of the {len(rows)} most expensive jobs, from {money(jobs[0].microusd)} down to "
        f"{money(jobs[len(rows) - 1].microusd)}.",
        charts.bars(rows),
        table=table_of(
            title,
            [
                *("Job", "Suffix", "Model", "Method", "Status", "Ended"),
                *("Trained tokens", "Cost", "Certainty"),
            ],
            lines,
            numbers=(6, 7),
            most=len(lines),
        ),
        note=f"The {len(jobs)} in the table are {share:.0f} % of the total.",
    )
    return part("dearest", title, sentence, figure)


def _called(one: Cost) -> str:
    """A short name for a job: its suffix and the end of its id."""
    return f"{short(one.suffix or model_name(one.base_model), 22)} …{one.job_id[-6:]}"


def unpriced(figures: Figures) -> Part:
    """What has no price, and how sure the rest is."""
    title = "What has no price, and how sure the rest is"
    sentence = (
        "Jobs that have ended and whose cost is not known are in no sum: a guess would be worse. "
        "The others by how sure their figure is."
    )
    spend = figures.spend
    if not spend.total.jobs:
        return part("unpriced", title, sentence, nothing("No job is mirrored for these days."))
    order = list(CERTAINTIES)
    sure: list[Sequence[Child]] = [
        [
            certainty.replace("_", " "),
            REASONS.get(reason or "", "") or CERTAINTIES.get(certainty, ""),
            f"{one.jobs:,}",
            money(one.microusd) if certainty not in ("unpriced", "open") else "",
        ]
        for (certainty, reason), one in sorted(
            spend.certainties.items(),
            key=lambda item: (order.index(item[0][0]), -item[1].jobs, item[0][1] or ""),
        )
    ]
    content: list[Child] = [
        tag("h3", "How sure the figures are"),
        table_of(
            "How sure the figures are",
            ["Certainty", "Why", "Jobs", "Cost"],
            sure,
            foot=["All", "", f"{spend.total.jobs:,}", money(spend.total.microusd)],
            numbers=(2, 3),
            most=LINES,
        ),
        tag("h3", "Jobs without a price"),
    ]
    groups = sorted(
        spend.unpriced.items(), key=lambda item: (-item[1].jobs, tuple(x or "" for x in item[0]))
    )
    if not groups:
        content.append(tag("p", "Every job of these days that has ended has a price."))
    else:
        lines: list[Sequence[Child]] = [
            [
                model_name(model),
                short(method) if method else "",
                short(provider),
                REASONS.get(reason, reason),
                f"{one.jobs:,}",
                f"{one.tokens:,}",
            ]
            for (reason, provider, model, method), one in groups
        ]
        content += [
            table_of(
                "Jobs without a price",
                ["Model", "Method", "Provider", "Why", "Jobs", "Trained tokens"],
                lines,
                foot=[
                    *("All", "", "", ""),
                    f"{spend.total.unpriced_jobs:,}",
                    f"{sum(one.tokens for one in spend.unpriced.values()):,}",
                ],
                numbers=(4, 5),
                most=LINES,
            ),
            tag("p", "Each of them: ", tag("code", "SELECT * FROM unpriced_jobs")),
        ]
    return part("unpriced", title, sentence, *content)


def whom(figures: Figures) -> Part:
    """Spend by project and by metadata."""
    title = "For whom"
    sentence = (
        "Spend by project and by each metadata key that jobs carry; each breakdown comes to the "
        "same total, with what is untagged as its last line."
    )
    spend = figures.spend
    if not spend.total.jobs:
        return part("whom", title, sentence, nothing("No job is mirrored for these days."))
    total = spend.total
    projects = sorted(spend.projects.items(), key=lambda item: (-item[1].microusd, item[0] or ""))
    named = [(_project(figures, name), one) for name, one in projects]
    cards: list[Child] = []
    before: list[Child] = []
    if any(name for name in spend.projects):
        top, rest = named[:12], named[12:]
        entries = [*top, *([(f"{len(rest)} other projects", _added(rest))] if rest else [])]
        rows = [[name, *sums(one)] for name, one in named]
        cards.append(_breakdown("Project", entries, total, table=rows))
    else:
        said = (
            "By project: not known, since the API names no project in a job. Give each source its "
            "project in the configuration."
        )
        before.append(tag("p", said))
    cards += [_tag(one, total) for one in figures.tags]
    after: Child = None
    if not figures.tags:
        said = (
            "By metadata: no job of these days carries any, so all of it is untagged. Set metadata "
            "when you create a job, as team or cost_center."
        )
        before.append(tag("p", said))
    elif figures.more_tags:
        keys = ", ".join(short(key, 40) for key in figures.more_tags[:40])
        after = tag("p", f"Other keys, on fewer jobs: {keys}.")
    grid = tag("div", cards, class_="cards") if cards else None
    return part("whom", title, sentence, before, grid, after)


def _project(figures: Figures, identifier: str | None) -> str:
    if not identifier:
        return "not known"
    return short(figures.project_names.get(identifier) or identifier)


def _added(entries: Iterable[tuple[str, Sum]]) -> Sum:
    whole = Sum()
    for _, one in entries:
        for name in vars(whole):
            setattr(whole, name, getattr(whole, name) + getattr(one, name))
    return whole


def _tag(one: Tags, total: Sum) -> Markup:
    entries = [(short(value, NAME) or "(empty)", sums) for value, sums in one.values]
    listed = _added(entries)
    more = one.count - len(one.values)
    if more:
        rest = Sum(
            jobs=one.tagged.jobs - listed.jobs,
            microusd=one.tagged.microusd - listed.microusd,
        )
        entries.append((f"{more:,} other values", rest))
    untagged = Sum(
        jobs=total.jobs - one.tagged.jobs,
        microusd=total.microusd - one.tagged.microusd,
    )
    if untagged.jobs:
        entries.append(("untagged", untagged))
    return _breakdown(one.key, entries, total, last_is_rest=bool(untagged.jobs))


def _breakdown(
    title: str,
    entries: list[tuple[str, Sum]],
    total: Sum,
    *,
    table: Sequence[Sequence[Child]] | None = None,
    last_is_rest: bool = False,
) -> Markup:
    rows = [
        {"name": name, "value": one.microusd / 1e6, "label": money(one.microusd)}
        for name, one in entries
    ]
    if last_is_rest:
        rows[-1]["series"] = -1
    if table is None:
        columns = [short(title, 40), "Cost", "Jobs"]
        table = [[name, money(one.microusd), f"{one.jobs:,}"] for name, one in entries]
        foot = ["All", money(total.microusd), f"{total.jobs:,}"]
    else:
        columns, foot = [title, *SUMS], ["All", *sums(total)]
    dearest = max(entries, key=lambda entry: entry[1].microusd)
    share = untagged = ""
    if last_is_rest and total.microusd:
        share = f"{entries[-1][1].microusd * 100 / total.microusd:.0f} % of it"
        untagged = f" {share} untagged."
    return tag(
        "article",
        tag("h3", short(title, 40)),
        figure_of(
            f"Bars of spend by {short(title, 40)}: the most, {money(dearest[1].microusd)}, for "
            f"{dearest[0]}.{untagged}",
            charts.small_bars(rows),
            table=table_of(f"Spend by {short(title, 40)}", columns, table, foot=foot, most=LINES),
        ),
        class_="card",
    )


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
