"""`ftmirror spend`: what training cost, and whether that is more than it may."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from etl.cli import amounts, database, limits, notifying, output, spend_rows, spend_table
from etl.cli.options import MOMENT, Context, command
from etl.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from etl.spending import Amounts, Wanted


log = logging.getLogger(__name__)
FOUND_SOMETHING = 5
NO_BUDGET = (
    "there is no budget to check: write [budget] and below it monthly_usd = 500 into the "
    "configuration, or [[budget.limits]] with a project or metadata, and monthly_usd"
)


@command(
    "spend",
    example="""
    ftmirror spend
    ftmirror spend --by project --by model --since 2025-01-01 --until 2025-04-01
    ftmirror spend --by metadata.team --format csv
    ftmirror spend --check --notify
    """,
)
@click.option(
    "--by",
    multiple=True,
    metavar="KEY",
    help="month (default), day, model, method, project, source, status or metadata.KEY; "
    "several times for each combination.",
)
@click.option(
    "--since",
    type=MOMENT,
    metavar="DATE",
    help="Jobs that ended since that day (2025-01-31, UTC), or so long ago (30d).",
)
@click.option("--until", type=MOMENT, metavar="DATE", help="Jobs that ended before that day.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="The table is rounded to cents; csv and json have every micro-dollar.",
)
@click.option(
    "--check",
    is_flag=True,
    help="Hold this month, or those from --since to --until, against [budget]; exit 5 above it.",
)
@notifying.notify_option("each limit that is exceeded")
def spend(
    context: Context,
    *,
    by: Sequence[str],
    since: dt.datetime | None,
    until: dt.datetime | None,
    form: str,
    check: bool,
    notify: bool,
) -> int:
    """Show what training cost.

    By list price, at the end of each job. What is uncertain or unknown is said below. Exit code 0,
    with --check 5 where a limit is exceeded.
    """
    from etl.db import prices
    from etl.spend.prices import load
    from etl.spending import Wanted

    if since is not None and until is not None and since >= until:
        raise click.UsageError("--since must be before --until")
    if check and by:
        raise click.UsageError("--check has its own columns; leave --by out")
    if notify and not check:
        raise click.UsageError("--notify goes with --check")
    wanted = Wanted(tuple(by) or ("month",), since, until)
    if check and not context.settings.limits:
        raise ConfigError([NO_BUDGET])
    send = notifying.opened(context) if notify else None
    book = load(context.settings.prices_file)
    with database.for_reading(context) as engine:
        prices.bring_or_warn(engine, book, "spend")
        if not check:
            return show(engine, wanted, form)
        found = limits.show(context, engine, since, until, form)
        exceeded = {one: limits.sentence(one) for one in found if one.is_exceeded}
        if send is not None:
            from etl import alerts

            notifying.tell(context, engine, send, [alerts.over_budget(engine, exceeded)])
    return FOUND_SOMETHING if exceeded else 0


def show(engine: Engine, wanted: Wanted, form: str = "table") -> int:
    """Print what was spent; the exit code."""
    from etl import spending
    from etl.db import again

    found = again.read(engine, lambda connection: spending.spending(connection, wanted))
    if form == "json":
        output.json(spend_rows.as_json(found))
    elif form == "csv":
        # The total has the same columns, and shows them where there is no row.
        head = spend_rows.line(found, [""] * len(wanted.by), found.total)
        amounts.write_csv(head, (spend_rows.line(found, *row) for row in found.rows))
    if form == "table" and found.rows:
        spend_table.show(found)
    elif not found.rows:
        (output.data if form == "table" else log.info)(_nothing(wanted))
    elif form == "csv":
        # A row of its own would be added up with the others by whoever reads the file.
        log.info("total: %s", _summary(found.total))
    return 0


def _nothing(wanted: Wanted) -> str:
    if wanted.since is None and wanted.until is None:
        return "the mirror holds no jobs yet, so nothing was spent; `ftmirror sync` brings them"
    return f"no job ended {spend_table.period(wanted.since, wanted.until)}, so nothing was spent"


def _summary(total: Amounts) -> str:
    return f"{amounts.usd(total.cost_microusd)} USD, {amounts.jobs(total.jobs)}"
