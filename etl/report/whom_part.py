"""The part of the page that tells for whom money was spent: projects and metadata."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from etl.report import charts
from etl.report.figures import Figures, Sum, Tags
from etl.report.markup import Child, Markup, tag
from etl.report.pieces import (
    LINES,
    NAME,
    SUMS,
    Part,
    figure_of,
    money,
    nothing,
    part,
    short,
    sums,
    table_of,
)


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
