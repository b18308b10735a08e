"""The parts of the page that tell when money was spent, and for what."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from itertools import accumulate

from etl.report import charts
from etl.report.figures import Cost, Figures, months_between
from etl.report.markup import Child, Markup, joined, tag
from etl.report.pieces import (
    MONTH_LINES,
    MONTHS,
    NAME,
    SUMS,
    Part,
    cut_note,
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

#: Models with a colour of their own; the others are one.
COLOURED = 6
#: Days that are shown one by one; of a longer time, the last one of each month is.
DAYS = 100


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
