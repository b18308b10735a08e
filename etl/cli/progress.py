"""How far a run is: a bar on a terminal, log lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from etl.cli import output
from etl.cli.options import Context
from etl.settings import escaped

if TYPE_CHECKING:
    from etl.db.runs import Tally

log = logging.getLogger(__name__)

#: Seconds between two log lines of one list.
LOG_EVERY = 10.0


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


def _lines() -> Callable[[Tally], None]:
    spoken: dict[tuple[str, str], float] = {}

    def step(tally: Tally) -> None:
        key = tally.source, tally.resource
        now = time.monotonic()
        if now - spoken.setdefault(key, now) >= LOG_EVERY and tally.status == "running":
            spoken[key] = now
            log.info("%s, %s: %s records so far", *key, f"{tally.read:,}")

    return step


@contextmanager
def _bar() -> Iterator[Callable[[Tally], None]]:
    from rich.markup import escape
    from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.completed:,} records", justify="right"),
        TextColumn("{task.fields[pages]:,} pages", justify="right"),
        TextColumn("{task.fields[rate]}", justify="right"),
        TimeElapsedColumn(),
        console=output.console(sys.stderr),
        transient=True,
        redirect_stdout=False,  # the answer comes after the bar
    ) as progress:
        tasks: dict[tuple[str, str], tuple[TaskID, float]] = {}

        def step(tally: Tally) -> None:
            key = tally.source, tally.resource
            if key not in tasks:
                name = escape(escaped(f"{tally.source}, {tally.resource}"))
                task = progress.add_task(name, total=None, pages=0, rate="")
                tasks[key] = task, time.monotonic()
            task_id, began = tasks[key]
            done = tally.read
            seconds = time.monotonic() - began
            rate = f"{done / seconds:,.0f}/s" if seconds > 0.5 else ""
            progress.update(task_id, completed=done, pages=tally.counts["pages"], rate=rate)

        yield step
