"""Each limit of the budget beside what was spent, and what is in doubt about it."""

from __future__ import annotations

import datetime as dt
import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from etl.cli import output
from etl.cli.amounts import cents, jobs, usd, write_csv
from etl.cli.options import Context
from etl.cli.output import wrapped
from etl.cli.spend_rows import figures, without_microusd

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from etl.budgets import Spent
    from etl.settings import Limit


def show(
    context: Context,
    engine: Engine,
    since: dt.datetime | None,
    until: dt.datetime | None,
    form: str,
) -> list[Spent]:
    """Show each limit with what was spent, and give them back."""
    from etl import budgets
    from etl.db import again

    limits, now = context.settings.limits, dt.datetime.now(dt.UTC)
    found = again.read(
        engine, lambda connection: budgets.checked(connection, limits, now, since, until)
    )
    if form == "json":
        output.json(
            {
                "exceeded": any(one.is_exceeded for one in found),
                "limits": [_limit_as_json(one) for one in found],
            }
        )
    elif form == "csv":
        lines = [_limit_line(one) for one in found]
        write_csv(lines[0], lines)
    else:
        output.table(
            ["limit", "month", "limit (USD)", "spent (USD)", ""],
            [
                [
                    one.limit.name,
                    one.month,
                    cents(one.limit.monthly_microusd),
                    cents(one.amounts.cost_microusd),
                    _verdict(one),
                ]
                for one in found
            ],
            right=["limit (USD)", "spent (USD)"],
        )
        doubts = list(_doubts(found))
        for said in ["", *doubts] if doubts else []:
            output.data("\n".join(wrapped(said)))
    return found


def _verdict(one: Spent) -> str:
    if one.is_exceeded:
        return "exceeded" if one.is_sure else "exceeded?"
    return "within" if one.is_sure else "within?"


def _doubts(found: Iterable[Spent]) -> Iterator[str]:
    """Why a verdict is in doubt, and what a limit leaves out, for each limit once."""
    by_limit: dict[str, list[Spent]] = {}
    for one in found:
        by_limit.setdefault(one.limit.name, []).append(one)
    for name, some in by_limit.items():
        if not some[0].is_matched:
            yield (
                f"{name}: no job in the mirror is of it, in any month; is it spelled as in "
                f"`{_command_for(some[0].limit)}`?"
            )
        unassigned = sum(one.without_project.jobs for one in some)
        if unassigned:
            yield (
                f"{name}: {jobs(unassigned)} of {_months(some)} without a project "
                f"{'is' if unassigned == 1 else 'are'} not in it; give each source its project in "
                "the configuration."
            )
        barely = [one for one in some if one.is_exceeded and not one.is_sure]
        for one in barely:
            amounts = one.amounts
            yield (
                f"{name}, {one.month}: {cents(amounts.uncertain_microusd)} USD of it is uncertain "
                f"({jobs(amounts.uncertain_jobs)}); without that the limit would hold."
            )
        within = [one.amounts for one in some if not one.is_exceeded]
        unpriced = sum(one.unpriced_jobs for one in within)
        under_way = sum(one.open_jobs for one in within)
        words = [f"{jobs(unpriced)} of unknown cost"] if unpriced else []
        words += [f"{jobs(under_way)} still open"] if under_way else []
        if words:
            yield f"{name}: not in it are {' and '.join(words)}, so that more may have been spent."


def _command_for(limit: Limit) -> str:
    """What shows how that is spelled of which it is a limit."""
    words = ["project"] if limit.project is not None else []
    words += [f"metadata.{name}" for name, _ in limit.metadata]
    return " ".join(["ftmirror spend", *(f"--by {shlex.quote(word)}" for word in words)])


def _months(some: Sequence[Spent]) -> str:
    return some[0].month if len(some) == 1 else "these months"


def sentence(one: Spent) -> str:
    """What an alert says of a limit."""
    amounts = one.amounts
    doubt = "" if one.is_sure else f", {cents(amounts.uncertain_microusd)} USD of it uncertain"
    more = f"; {jobs(amounts.unpriced_jobs)} of unknown cost" if amounts.unpriced_jobs else ""
    return (
        f"{one.limit.name}: {cents(amounts.cost_microusd)} USD spent in {one.month}{doubt}, "
        f"of {cents(one.limit.monthly_microusd)} USD{more}"
    )


def _limit_as_json(one: Spent) -> dict[str, Any]:
    return {
        "limit": one.limit.name,
        "project": one.limit.project,
        "metadata": dict(one.limit.metadata),
        "month": one.month,
        "limit_microusd": one.limit.monthly_microusd,
        "limit_usd": usd(one.limit.monthly_microusd),
        **figures(one.amounts),
        "exceeded": one.is_exceeded,
        "certain": one.is_sure,
        "matched": one.is_matched,
        "without_project_jobs": one.without_project.jobs,
    }


def _limit_line(one: Spent) -> dict[str, Any]:
    line = without_microusd(_limit_as_json(one))
    words = {name: "yes" if line[name] else "no" for name in ("exceeded", "certain", "matched")}
    # Both stand in the limit's name.
    return {
        name: words.get(name, line[name]) for name in line if name not in ("project", "metadata")
    }
