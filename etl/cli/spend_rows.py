"""What was spent as rows for machines: CSV and JSON, exact to the micro-dollar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from etl.cli.amounts import usd

if TYPE_CHECKING:
    from etl.spending import Amounts, Spending


#: What stands where a job has no such thing: no project, not this key of metadata.
NONE = "(none)"


def line(found: Spending, keys: Sequence[str | None], amounts: Amounts) -> dict[str, Any]:
    """A row for a spreadsheet."""
    named = _named(found, keys)
    said = {word: NONE if named[word] is None else named[word] for word in found.wanted.by}
    return {**named, **said, **without_microusd(figures(amounts))}


def without_microusd(line: Mapping[str, Any]) -> dict[str, Any]:
    """The same amounts stand beside them in dollars, as exact."""
    return {name: value for name, value in line.items() if not name.endswith("_microusd")}


def as_json(found: Spending) -> dict[str, Any]:
    """The rows, the total and how sure it is, as `spend --format json` prints them."""
    wanted = found.wanted
    return {
        "by": wanted.by,
        "since": wanted.since,
        "until": wanted.until,
        "rows": [{**_named(found, keys), **figures(amounts)} for keys, amounts in found.rows],
        "total": figures(found.total),
        "certainty": [
            {
                "certainty": part.certainty,
                "reason": part.reason,
                "provider": part.provider,
                "jobs": amounts.jobs,
                "cost_microusd": amounts.cost_microusd,
                "cost_usd": usd(amounts.cost_microusd),
            }
            for part, amounts in sorted(found.parts.items(), key=lambda one: str(one[0]))
        ],
    }


def _named(found: Spending, keys: Sequence[str | None]) -> dict[str, str | None]:
    """The words asked for with what a row has for them; a project's name beside its id."""
    named: dict[str, str | None] = {}
    for word, key in zip(found.wanted.by, keys, strict=True):
        named[word] = key
        if word == "project":
            named["project_name"] = found.project_names.get(key or "")
    return named


def figures(amounts: Amounts) -> dict[str, Any]:
    """The amounts by name, in micro-dollars and, as exact text, in dollars."""
    return {
        "jobs": amounts.jobs,
        "trained_tokens": amounts.trained_tokens,
        "cost_microusd": amounts.cost_microusd,
        "cost_usd": usd(amounts.cost_microusd),
        "uncertain_jobs": amounts.uncertain_jobs,
        "uncertain_microusd": amounts.uncertain_microusd,
        "uncertain_usd": usd(amounts.uncertain_microusd),
        "unpriced_jobs": amounts.unpriced_jobs,
        "open_jobs": amounts.open_jobs,
    }
