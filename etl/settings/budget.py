"""How `[budget]` and `[alerts]` say what training may cost, and where alerts go."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from etl.settings.model import ALERTS_VARIABLE, Limit
from etl.settings.secret import ADDRESSES, Secret
from etl.settings.sources import secret_of
from etl.settings.table import Table

#: Every key of `[budget]`, of a `[[budget.limits]]` and of `[alerts]`.
BUDGET_KEYS = ("monthly_usd", "limits")
LIMIT_KEYS = ("project", "metadata", "monthly_usd")
ALERTS_KEYS = ("urls_env", "urls_file", "urls_command")


def limits(
    top: Table, values: Mapping[str, Any], place: str, problems: list[str]
) -> tuple[Limit, ...]:
    """The limits that `[budget]` sets: the overall one first, the others as they stand there."""
    said = _section(top, values, "budget", "monthly_usd = 500")
    budget = Table(f"{place}: [budget]", said, problems, BUDGET_KEYS)
    whole = budget.dollars("monthly_usd")
    found = [] if whole is None else [Limit(whole)]
    tables = said.get("limits", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        budget.bad("limits", "each limit begins with a line [[budget.limits]], with two brackets")
        return tuple(found)
    for number, one in enumerate(tables, start=1):
        table = Table(f"{place}: [[budget.limits]] number {number}", one, problems, LIMIT_KEYS)
        limit = _limit(table)
        if limit is not None and limit.name in {other.name for other in found}:
            table.bad("project" if limit.project else "metadata", "has a limit above already")
        elif limit is not None:
            found.append(limit)
    return tuple(found)


def _limit(table: Table) -> Limit | None:
    project = table.text("project")
    pairs = table.pairs("metadata")
    amount = table.dollars("monthly_usd")
    if "monthly_usd" not in table:
        table.bad("monthly_usd", "is missing; write how much, as monthly_usd = 500")
    if "project" not in table and not pairs:
        table.bad(
            "project",
            'is missing, and so is metadata; name one, as project = "proj_abc" or '
            'metadata = {team = "search"}. What all may cost stands under [budget]',
        )
        return None
    return None if amount is None else Limit(amount, project, tuple(sorted(pairs)))


def addresses(
    top: Table,
    values: Mapping[str, Any],
    environ: Mapping[str, str],
    path: Path | None,
    problems: list[str],
) -> Secret:
    """Where alerts go, as `[alerts]` names it; without it, a variable of ours."""
    said = _section(top, values, "alerts", f'urls_env = "{ALERTS_VARIABLE}"')
    table = Table(f"{top.place}: [alerts]", said, problems, ALERTS_KEYS)
    folder = path.parent if path else Path()
    return secret_of(table, ADDRESSES, ALERTS_VARIABLE, environ, folder)


def _section(top: Table, values: Mapping[str, Any], name: str, example: str) -> dict[str, Any]:
    found = values.get(name, {})
    if isinstance(found, dict):
        return found
    top.bad(name, f"must be a table: a line [{name}], then {example} below it")
    return {}
