"""How far long work is: a bar on a terminal, log lines elsewhere; its rate, and the time left."""

from __future__ import annotations

import datetime as dt
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from etl.cli import output
from etl.cli.options import Context
from etl.settings import escaped

if TYPE_CHECKING:
    from etl.db.runs import Tally

log = logging.getLogger(__name__)

#: Seconds between two log lines of one list.
LOG_EVERY = 10.0
#: Seconds after which a rate says something.
RATE_AFTER = 0.5
#: Columns of a name in the bar; the end of a longer one is not shown.
_NAME = 20


@dataclass
class Pace:
    """How fast something goes, from when it was first heard of."""

    #: Seconds of a clock that only goes on.
    began: float
    #: What was read and done by then: a copy that was cut may go on with much.
    read: int = 0
    done: int = 0

    @classmethod
    def of(cls, tally: Tally, now: float) -> Pace:
        """A pace that begins with how a tally stands now."""
        return cls(now, tally.read, _done(tally))

    def rate(self, read: int, now: float) -> float | None:
        """Records a second; None while it is too early to tell."""
        seconds = now - self.began
        return (read - self.read) / seconds if seconds >= RATE_AFTER else None

    def left(self, done: int, total: int, now: float) -> float | None:
        """Seconds until all is done at this pace; None where nobody knows."""
        seconds, gone = now - self.began, done - self.done
        if seconds < RATE_AFTER or gone <= 0 or done > total:
            return None
        return (total - done) * seconds / gone


@contextmanager
def shown(context: Context) -> Iterator[Callable[[Tally], None]]:
    """What a run calls with each step."""
    kind = context.progress
    if kind == "auto":
        is_for_people = sys.stderr.isatty() and context.log_format == "text"
        kind = "bar" if is_for_people else "log"
    if context.verbosity < 0 or kind == "none":
        yield lambda _: None
    elif kind == "log":
        yield _lines()
    else:
        with _bar() as step:
            yield step


@contextmanager
def counted(context: Context, what: str) -> Iterator[Callable[[str, int, int | None], None]]:
    """The same for what is no run: called with a name, how many are done, and of how many.

    `what`: the command, as `copy`. None for how many: nobody knows.
    """
    from etl.db.runs import Tally

    with shown(context) as step:
        tallies: dict[str, Tally] = {}

        def told(name: str, done: int, total: int | None) -> None:
            if name not in tallies:
                tallies[name] = Tally(what, name, dt.datetime.now(dt.UTC))
            tally = tallies[name]
            tally.read, tally.total = done, total
            step(tally)

        yield told


def duration(seconds: float) -> str:
    """A time that is left, roughly: `40 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _done(tally: Tally) -> int:
    return tally.read if tally.done is None else tally.done


def _lines() -> Callable[[Tally], None]:
    spoken: dict[tuple[str, str], float] = {}
    paces: dict[tuple[str, str], Pace] = {}

    def step(tally: Tally) -> None:
        key = tally.source, tally.resource
        now = time.monotonic()
        pace = paces.setdefault(key, Pace.of(tally, now))
        if now - spoken.setdefault(key, now) >= LOG_EVERY and tally.status == "running":
            spoken[key] = now
            log.info("%s, %s: %s", *key, sentence(tally, pace, now))

    return step


def sentence(tally: Tally, pace: Pace, now: float) -> str:
    """How far it is, for the log: `17,000 records so far, 850/s, 40%, 2 min left`."""
    said = [f"{tally.read:,} records so far"]
    rate = pace.rate(tally.read, now)
    if rate is not None:
        said.append(f"{rate:,.0f}/s")
    if tally.total and _done(tally) <= tally.total:
        said.append(f"{100 * _done(tally) // tally.total}%")
        left = pace.left(_done(tally), tally.total, now)
        if left is not None:
            said.append(f"{duration(left)} left")
    return ", ".join(said)


@contextmanager
def _bar() -> Iterator[Callable[[Tally], None]]:
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn
    from rich.table import Column

    one = Column(no_wrap=True)
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", table_column=one),
        BarColumn(bar_width=10),
        TextColumn("{task.fields[share]}", justify="right", table_column=one),
        TextColumn("{task.fields[records]} records", justify="right", table_column=one),
        TextColumn("{task.fields[rate]}", justify="right", table_column=one),
        TextColumn("{task.fields[left]}", justify="right", table_column=one),
        console=output.console(sys.stderr),
        transient=True,
        redirect_stdout=False,  # the answer comes after the bar
    ) as progress:
        tasks: dict[tuple[str, str], tuple[TaskID, Pace]] = {}

        def step(tally: Tally) -> None:
            key = tally.source, tally.resource
            now = time.monotonic()
            if key not in tasks:
                name = escaped(f"{tally.source}, {tally.resource}")
                name = name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"
                blank: dict[str, Any] = {"share": "", "records": "0", "rate": "", "left": ""}
                task = progress.add_task(escape(name), total=None, **blank)
                tasks[key] = task, Pace.of(tally, now)
            task_id, pace = tasks[key]
            total = tally.total if tally.total and _done(tally) <= tally.total else None
            is_over = tally.status != "running" and total in (None, _done(tally))
            end = "done" if tally.status == "success" else tally.status
            rate = pace.rate(tally.read, now)
            left = None if total is None else pace.left(_done(tally), total, now)
            progress.update(
                task_id,
                # What is over is whole, though fewer came than were thought of.
                completed=1 if is_over else _done(tally),
                total=1 if is_over else total,
                share="" if total is None or is_over else f"{100 * _done(tally) // total}%",
                records=f"{tally.read:,}",
                rate="" if rate is None else f"{rate:,.0f}/s",
                left=end if is_over else "" if left is None else f"{duration(left)} left",
            )

        yield step
