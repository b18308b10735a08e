"""The part of the page that tells how sure the money is, and what has no price."""

from __future__ import annotations

from collections.abc import Sequence

from etl.report.figures import Figures
from etl.report.markup import Child, tag
from etl.report.pieces import (
    LINES,
    Part,
    model_name,
    money,
    nothing,
    part,
    short,
    table_of,
)

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
