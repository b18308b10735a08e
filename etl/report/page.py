"""The page itself: its head and style, the headline, and the parts in their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from etl import __version__
from etl.report import charts
from etl.report.billed_part import reconciliation
from etl.report.certainty_part import unpriced
from etl.report.figures import Figures, Period
from etl.report.job_parts import curves, durations, failures, freshness, outcomes
from etl.report.markup import Markup, tag
from etl.report.money_parts import by_month, cumulative, dearest
from etl.report.pieces import Part, at, jobs_text, money, short
from etl.report.whom_part import whom

#: Nothing is loaded, nothing runs: whatever a job's name says.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def page(figures: Figures) -> str:
    """The whole file."""
    parts = [made(figures) for made in _PARTS]
    links = [tag("li", tag("a", title, href=f"#{identifier}")) for identifier, title, _ in parts]
    style = "\n".join(
        [
            Path(__file__).with_name("style.css").read_text(encoding="utf-8"),
            charts.swatch_rules(is_dark=False),
            "@media screen and (prefers-color-scheme: dark) {",
            charts.dark_rules(),
            charts.swatch_rules(is_dark=True),
            "}",
        ]
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="robots", content="noindex"),
        tag("title", "What training cost"),
        # Ours alone, and no text from outside is in it.
        tag("style", Markup(style)),
    )
    body = tag(
        "body",
        tag(
            "header",
            tag("h1", "What training cost"),
            tag("p", _about(figures), class_="lead"),
            _headline(figures),
            tag("nav", tag("ul", links), aria_label="Parts of this page"),
        ),
        tag("main", [content for _, _, content in parts]),
        tag(
            "footer",
            tag(
                "p",
                f"Made by ftmirror {__version__} at {at(figures.made_at)} from the views of the "
                "mirror. Amounts are shown in cents and added up in millionths of a dollar; every "
                "digit is in ",
                tag("code", "ftmirror spend --format csv"),
                ". Days and months are UTC. This page loads nothing and runs no script.",
            ),
        ),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _about(figures: Figures) -> str:
    sources = sorted({one.source for one in figures.health})
    of = f" of {', '.join(short(one) for one in sources)}" if 0 < len(sources) <= 4 else ""
    return (
        f"Fine-tuning jobs{of} that ended {_days(figures.period)}, priced by the price book; "
        "those without an end count to the day on which they began."
    )


def _days(period: Period) -> str:
    since, until = (
        None if moment is None else at(moment).removesuffix(" 00:00 UTC")
        for moment in (period.since, period.until)
    )
    if since and until:
        return f"since {since} and before {until}"
    if since:
        return f"since {since}"
    return f"before {until}" if until else "on any day"


def _headline(figures: Figures) -> Markup:
    total = figures.spend.total
    tiles = [
        (
            "Total",
            money(total.microusd),
            f"{jobs_text(total.jobs)}, {total.tokens:,} trained tokens",
        ),
        (
            "Of it estimated",
            money(total.estimate),
            "reinforcement, by training time",
        ),
        ("Of it uncertain", money(total.uncertain), "failed, cancelled, or partly free"),
        ("Without a price", f"{total.unpriced_jobs:,}", "ended jobs that are not in the total"),
        ("Still open", f"{total.open_jobs:,}", "jobs that cost nothing yet"),
    ]
    return tag(
        "dl",
        [
            tag(
                "div",
                tag("dt", name),
                tag("dd", value, class_="figure"),
                tag("dd", note, class_="note"),
            )
            for name, value, note in tiles
        ],
        class_="tiles",
    )


_PARTS: Sequence[Callable[[Figures], Part]] = (
    by_month,
    cumulative,
    dearest,
    whom,
    outcomes,
    failures,
    durations,
    curves,
    unpriced,
    reconciliation,
    freshness,
)
