"""`ftmirror spend`: what training cost, and whether that is more than it may."""

from __future__ import annotations

import csv
import datetime as dt
import io
import logging
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Any

import click

from etl.cli import database, notifying, output
from etl.cli.options import MOMENT, Context, command
from etl.cli.output import wrapped
from etl.errors import ConfigError
from etl.settings import escaped
from etl.spreadsheets import defused

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from etl.budgets import Spent
    from etl.settings import Limit
    from etl.spending import Amounts, Part, Spending, Wanted

log = logging.getLogger(__name__)

FOUND_SOMETHING = 5
NO_BUDGET = (
    "there is no budget to check: write [budget] and below it monthly_usd = 500 into the "
    "configuration, or [[budget.limits]] with a project or metadata, and monthly_usd"
)
#: What stands where a job has no such thing: no project, not this key of metadata.
NONE = "(none)"
#: Columns of the longest bar, and of the shortest that says anything.
_LONGEST_BAR, _SHORTEST_BAR = 30, 6
_EIGHTHS = "▏▎▍▌▋▊▉█"

#: Reasons for which a list price may not have been charged, and for which there is none.
_DOUBTFUL = ("failed", "cancelled")
_LACKING = ("no_price", "outside_price_dates")
#: Why a cost is uncertain, or not known, in a few words behind a number of jobs.
REASONS = {
    "failed": "failed",
    "cancelled": "cancelled",
    "no_price": "without a price for the model",
    "outside_price_dates": "before or after the prices of the model",
    "no_usage": "without a word of what was used",
    "negative_tokens": "with a negative count of tokens",
    "absurd_quantity": "with an absurd count of tokens or seconds",
    "unknown_method": "of a method that this version does not know",
    "unknown_status": "in a status that this version does not know",
}


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
        found = _checked(context, engine, since, until, form)
        exceeded = {one: _sentence(one) for one in found if one.is_exceeded}
        if send is not None:
            from etl import alerts

            notifying.tell(context, engine, send, [alerts.over_budget(engine, exceeded)])
    return FOUND_SOMETHING if exceeded else 0


# What was spent


def show(engine: Engine, wanted: Wanted, form: str = "table") -> int:
    """Print what was spent; the exit code."""
    from etl import spending
    from etl.db import again

    found = again.read(engine, lambda connection: spending.spending(connection, wanted))
    if form == "json":
        output.json(_as_json(found))
    elif form == "csv":
        # The total has the same columns, and shows them where there is no row.
        head = _line(found, [""] * len(wanted.by), found.total)
        _write_csv(head, (_line(found, *row) for row in found.rows))
    if form == "table" and found.rows:
        _table(found)
        notes = list(_notes(found))
        for note in ["", *notes] if notes else []:
            output.data("\n".join(wrapped(note)))
    elif not found.rows:
        (output.data if form == "table" else log.info)(_nothing(wanted))
    elif form == "csv":
        # A row of its own would be added up with the others by whoever reads the file.
        log.info("total: %s", _summary(found.total))
    return 0


def _nothing(wanted: Wanted) -> str:
    if wanted.since is None and wanted.until is None:
        return "the mirror holds no jobs yet, so nothing was spent; `ftmirror sync` brings them"
    return f"no job ended {_period(wanted)}, so nothing was spent"


def _period(wanted: Wanted) -> str:
    words = []
    if wanted.since is not None:
        words.append(f"since {wanted.since:%Y-%m-%d %H:%M}")
    if wanted.until is not None:
        words.append(f"before {wanted.until:%Y-%m-%d %H:%M}")
    return f"{' and '.join(words)} UTC"


def _summary(total: Amounts) -> str:
    return f"{usd(total.cost_microusd)} USD, {_jobs(total.jobs)}"


def _table(found: Spending) -> None:
    """The rows, the total, and on a terminal a bar for each row."""
    total = found.total
    by, named = list(found.wanted.by), bool(found.project_names)
    columns = [*by, *(["name"] if named else [])]
    counts = ["jobs", "unpriced"] if total.unpriced_jobs else ["jobs"]
    numbers = [*counts, "tokens", "cost (USD)"]
    lines: list[list[str]] = []
    for keys, amounts in found.rows:
        said = [NONE if key is None else key for key in keys]
        if named:
            said.append(found.project_names.get(keys[by.index("project")] or "", ""))
        lines.append([*said, *_cells(amounts, counts)])
    last = ["total", *[""] * (len(columns) - 1), *_cells(total, counts)]
    bars = _bars(
        [amounts.cost_microusd for _, amounts in found.rows], [columns + numbers, *lines, last]
    )
    if bars:
        lines = [[*line, bar] for line, bar in zip(lines, bars, strict=True)]
        last.append("")
    if found.wanted.since is not None or found.wanted.until is not None:
        output.data(f"jobs that ended {_period(found.wanted)}")
    head = [*columns, *numbers, *([""] if bars else [])]
    output.table(head, [*lines, last], right=numbers)


def _cells(amounts: Amounts, counts: Sequence[str]) -> list[str]:
    cells = {"jobs": amounts.jobs, "unpriced": amounts.unpriced_jobs}
    return [
        *(f"{cells[name]:,}" for name in counts),
        f"{amounts.trained_tokens:,}",
        cents(amounts.cost_microusd),
    ]


def _bars(costs: Sequence[int], lines: Iterable[Sequence[str]]) -> list[str]:
    """A bar for each cost, as wide as the terminal leaves room; none in a pipe."""
    from rich.cells import cell_len

    if not sys.stdout.isatty() or max(costs) <= 0 or len(costs) < 2:
        return []
    widths = [max(cell_len(cell) for cell in column) for column in zip(*lines, strict=True)]
    # A terminal's table has three characters between two columns.
    room = output.console(sys.stdout).width - sum(widths) - 3 * len(widths)
    if room < _SHORTEST_BAR:
        return []
    width = min(room, _LONGEST_BAR)
    is_plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    return [_bar(cost, max(costs), width, is_plain=is_plain) for cost in costs]


def _bar(cost: int, most: int, width: int, *, is_plain: bool) -> str:
    """A bar of eighths of a character, whole `#` where there are none; something for anything."""
    if cost <= 0:
        return ""
    if is_plain:
        return "#" * max(1, cost * width // most)
    whole, eighths = divmod(max(1, cost * width * 8 // most), 8)
    return _EIGHTHS[-1] * whole + (_EIGHTHS[eighths - 1] if eighths else "")


def _notes(found: Spending) -> Iterator[str]:
    """What the sum does not say: how much of it is unsure, what is not in it, and why."""
    total = found.total
    if _cents(total.cost_microusd) != sum(_cents(one.cost_microusd) for _, one in found.rows):
        yield (
            "Each amount is rounded to cents by itself; --format csv and json have every "
            "micro-dollar, and those add up."
        )
    doubtful = [_of(found.parts, certainty="uncertain", reason=name) for name in _DOUBTFUL]
    if any(one.jobs for one in doubtful):
        spent = sum(one.cost_microusd for one in doubtful)
        yield (
            f"uncertain: {cents(spent)} USD of it, the list price of jobs whose charge is not "
            f"documented ({_reasons(found.parts, 'uncertain', _DOUBTFUL)})."
        )
    stopped = _of(found.parts, reason="stopped_before_training")
    if stopped.jobs:
        yield f"stopped before training: {_jobs(stopped.jobs)}, taken to have cost nothing."
    free = _of(found.parts, reason="free_allowance")
    if free.jobs:
        yield (
            f"free allowance: {cents(free.cost_microusd)} USD of it ({_jobs(free.jobs)}) is of "
            "months in which some training was free; the bill may be lower."
        )
    estimated = _of(found.parts, certainty="estimate")
    if estimated.jobs:
        yield (
            f"estimate: {cents(estimated.cost_microusd)} USD of it ({_jobs(estimated.jobs)}) is by "
            "measured training time; model graders come on top."
        )
    if total.unpriced_jobs:
        lacking = any(_of(found.parts, reason=name).jobs for name in _LACKING)
        yield (
            f"unpriced: {_jobs(total.unpriced_jobs)} of unknown cost, which count as nothing "
            f"({_reasons(found.parts, 'unpriced')}); the view unpriced_jobs names them"
            f"{', `ftmirror prices check` the models' if lacking else ''}."
        )
    if total.open_jobs:
        odd = _reasons(found.parts, "open", ("unknown_status",))
        yield f"open: {_jobs(total.open_jobs)} without a cost yet{f' ({odd})' if odd else ''}."
    azure = _of(found.parts, provider="azure")
    if azure.jobs:
        yield (
            f"Azure: {_jobs(azure.jobs)}, by the prices in your own file; hosting by the hour is "
            "not in it."
        )


def _of(parts: Mapping[Part, Amounts], **said: str) -> Amounts:
    """The sum of the parts that say so."""
    from etl.spending import Amounts

    total = Amounts()
    for part, amounts in parts.items():
        if all(getattr(part, name) == value for name, value in said.items()):
            total += amounts
    return total


def _reasons(parts: Mapping[Part, Amounts], certainty: str, only: Sequence[str] = ()) -> str:
    """Why, with how many jobs, as `3 failed, 2 cancelled`."""
    jobs: dict[str, int] = {}
    for part, amounts in parts.items():
        reason = part.reason or ""
        if part.certainty == certainty and (not only or reason in only):
            words = REASONS.get(reason, reason.replace("_", " "))
            jobs[words] = jobs.get(words, 0) + amounts.jobs
    most_first = sorted(jobs.items(), key=lambda one: (-one[1], one[0]))
    return ", ".join(f"{count:,} {words}" for words, count in most_first)


def _line(found: Spending, keys: Sequence[str | None], amounts: Amounts) -> dict[str, Any]:
    """A row for a spreadsheet."""
    named = _named(found, keys)
    said = {word: NONE if named[word] is None else named[word] for word in found.wanted.by}
    return {**named, **said, **_without_microusd(_figures(amounts))}


def _without_microusd(line: Mapping[str, Any]) -> dict[str, Any]:
    """The same amounts stand beside them in dollars, as exact."""
    return {name: value for name, value in line.items() if not name.endswith("_microusd")}


def _as_json(found: Spending) -> dict[str, Any]:
    wanted = found.wanted
    return {
        "by": wanted.by,
        "since": wanted.since,
        "until": wanted.until,
        "rows": [{**_named(found, keys), **_figures(amounts)} for keys, amounts in found.rows],
        "total": _figures(found.total),
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


def _figures(amounts: Amounts) -> dict[str, Any]:
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


# Budgets


def _checked(
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
        _write_csv(lines[0], lines)
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
                f"{name}: {_jobs(unassigned)} of {_months(some)} without a project "
                f"{'is' if unassigned == 1 else 'are'} not in it; give each source its project in "
                "the configuration."
            )
        barely = [one for one in some if one.is_exceeded and not one.is_sure]
        for one in barely:
            amounts = one.amounts
            yield (
                f"{name}, {one.month}: {cents(amounts.uncertain_microusd)} USD of it is uncertain "
                f"({_jobs(amounts.uncertain_jobs)}); without that the limit would hold."
            )
        within = [one.amounts for one in some if not one.is_exceeded]
        unpriced = sum(one.unpriced_jobs for one in within)
        under_way = sum(one.open_jobs for one in within)
        words = [f"{_jobs(unpriced)} of unknown cost"] if unpriced else []
        words += [f"{_jobs(under_way)} still open"] if under_way else []
        if words:
            yield f"{name}: not in it are {' and '.join(words)}, so that more may have been spent."


def _command_for(limit: Limit) -> str:
    """What shows how that is spelled of which it is a limit."""
    words = ["project"] if limit.project is not None else []
    words += [f"metadata.{name}" for name, _ in limit.metadata]
    return " ".join(["ftmirror spend", *(f"--by {shlex.quote(word)}" for word in words)])


def _months(some: Sequence[Spent]) -> str:
    return some[0].month if len(some) == 1 else "these months"


def _sentence(one: Spent) -> str:
    amounts = one.amounts
    doubt = "" if one.is_sure else f", {cents(amounts.uncertain_microusd)} USD of it uncertain"
    more = f"; {_jobs(amounts.unpriced_jobs)} of unknown cost" if amounts.unpriced_jobs else ""
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
        **_figures(one.amounts),
        "exceeded": one.is_exceeded,
        "certain": one.is_sure,
        "matched": one.is_matched,
        "without_project_jobs": one.without_project.jobs,
    }


def _limit_line(one: Spent) -> dict[str, Any]:
    line = _without_microusd(_limit_as_json(one))
    words = {name: "yes" if line[name] else "no" for name in ("exceeded", "certain", "matched")}
    # Both stand in the limit's name.
    return {
        name: words.get(name, line[name]) for name in line if name not in ("project", "metadata")
    }


# Amounts as text


def usd(microusd: int) -> str:
    """Exact, as `12.345678`."""
    return f"{Decimal(microusd).scaleb(-6):f}"


def cents(microusd: int) -> str:
    """To the cent, as `1,234.57`; `<0.01` for less than shows."""
    return "<0.01" if 0 < microusd < 5_000 else f"{Decimal(_cents(microusd)).scaleb(-2):,.2f}"


def _cents(microusd: int) -> int:
    return int(Decimal(microusd).scaleb(-4).quantize(Decimal(1), ROUND_HALF_UP))


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count:,} jobs"


def _write_csv(head: Iterable[str], lines: Iterable[Mapping[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_guarded(name) for name in head)
    for line in lines:
        writer.writerow(_guarded(value) for value in line.values())
    output.data(text.getvalue())


def _guarded(value: object) -> object:
    """A text that no spreadsheet runs and no terminal obeys."""
    if not isinstance(value, str):
        return value
    return escaped(defused(value))
