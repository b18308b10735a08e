"""What was spent as people read it: a table with bars, and below it what the sum does not say."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from etl.cli import output
from etl.cli.amounts import cents, jobs, whole_cents
from etl.cli.output import wrapped
from etl.cli.spend_rows import NONE

if TYPE_CHECKING:
    from etl.spending import Amounts, Part, Spending


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


def show(found: Spending) -> None:
    """Print the rows, the total and what they do not say; on a terminal a bar for each row."""
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
        output.data(f"jobs that ended {period(found.wanted.since, found.wanted.until)}")
    head = [*columns, *numbers, *([""] if bars else [])]
    output.table(head, [*lines, last], right=numbers)
    notes = list(_notes(found))
    for note in ["", *notes] if notes else []:
        output.data("\n".join(wrapped(note)))


def period(since: dt.datetime | None, until: dt.datetime | None) -> str:
    """As `since 2025-01-31 00:00 and before 2025-02-28 00:00 UTC`."""
    words = []
    if since is not None:
        words.append(f"since {since:%Y-%m-%d %H:%M}")
    if until is not None:
        words.append(f"before {until:%Y-%m-%d %H:%M}")
    return f"{' and '.join(words)} UTC"


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
    if whole_cents(total.cost_microusd) != sum(
        whole_cents(one.cost_microusd) for _, one in found.rows
    ):
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
        yield f"stopped before training: {jobs(stopped.jobs)}, taken to have cost nothing."
    free = _of(found.parts, reason="free_allowance")
    if free.jobs:
        yield (
            f"free allowance: {cents(free.cost_microusd)} USD of it ({jobs(free.jobs)}) is of "
            "months in which some training was free; the bill may be lower."
        )
    estimated = _of(found.parts, certainty="estimate")
    if estimated.jobs:
        yield (
            f"estimate: {cents(estimated.cost_microusd)} USD of it ({jobs(estimated.jobs)}) is by "
            "measured training time; model graders come on top."
        )
    if total.unpriced_jobs:
        lacking = any(_of(found.parts, reason=name).jobs for name in _LACKING)
        yield (
            f"unpriced: {jobs(total.unpriced_jobs)} of unknown cost, which count as nothing "
            f"({_reasons(found.parts, 'unpriced')}); the view unpriced_jobs names them"
            f"{', `ftmirror prices check` the models' if lacking else ''}."
        )
    if total.open_jobs:
        odd = _reasons(found.parts, "open", ("unknown_status",))
        yield f"open: {jobs(total.open_jobs)} without a cost yet{f' ({odd})' if odd else ''}."
    azure = _of(found.parts, provider="azure")
    if azure.jobs:
        yield (
            f"Azure: {jobs(azure.jobs)}, by the prices in your own file; hosting by the hour is "
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
