"""`ftmirror schedule`: sync again and again, until told to stop."""

from __future__ import annotations

import gc
import logging
import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from etl.cli import database, metrics_file, output
from etl.cli.choices import Choices, choosing
from etl.cli.masking import Mask
from etl.cli.options import DURATION, Context, command
from etl.cli.runs import mirror, unfinished
from etl.errors import StoreError

if TYPE_CHECKING:
    from etl.cli.stopping import Stop
    from etl.schedule import Timetable

log = logging.getLogger(__name__)

#: Seconds: a loop that never waits helps nobody, and after a year nobody waits for the next turn.
SHORTEST, LONGEST = 1.0, 366 * 86400.0


@command(
    "schedule",
    example="""
    ftmirror schedule --every 15m
    ftmirror schedule --cron '17 * * * *' --time-limit 50m
    """,
)
@click.option("--every", type=DURATION, metavar="DURATION", help="Now, then so often (15m, 2h).")
@click.option(
    "--cron",
    metavar="EXPR",
    help="When a crontab would, in UTC: 'MINUTE HOUR DAY MONTH WEEKDAY'.",
)
@click.option(
    "--jitter",
    type=DURATION,
    metavar="DURATION",
    help="Begin up to so much later, at random (else a tenth of the time between, 60s at most).",
)
@choosing
@click.option("--json", "as_json", is_flag=True, help="Answer with one JSON object for each run.")
def schedule(
    context: Context,
    choices: Choices,
    *,
    every: float | None,
    cron: str | None,
    jitter: float | None,
    as_json: bool,
) -> None:
    """Sync again and again.

    One run at a time: turns that come meanwhile are skipped. A run that fails is logged, and the
    next turn tries again, with the settings and keys as they are then. SIGTERM or SIGINT: what was
    read is written, then exit code 0. A second one ends at once.
    """
    from etl import schedule as scheduling
    from etl.cli import stopping

    timetable = _timetable(every, cron)
    metrics_file.require(choices.metrics_file)
    _require_sense(context, choices, is_soon=timetable.begins_at_once)
    with stopping.signals() as stop:
        turn = _Turn(context, choices, stop, as_json=as_json)
        turns = scheduling.repeat(
            timetable, turn.take, stop.wait, random=random.random, jitter=jitter
        )
        by = f" by {stop.signal.name}" if stop.signal else ""
        log.info("stopped%s after %s", by, "1 run" if turns == 1 else f"{turns:,} runs")


def _timetable(every: float | None, cron: str | None) -> Timetable:
    from etl.schedule import Cron, Every

    if cron is not None and every is None:
        return Cron(cron)
    if every is None or cron is not None:
        raise click.UsageError("say when: either --every DURATION or --cron EXPR")
    if not SHORTEST <= every <= LONGEST:
        raise click.BadParameter("must be between 1s and 366d", param_hint="--every")
    return Every(every)


def _require_sense(context: Context, choices: Choices, *, is_soon: bool) -> None:
    """Raise UsageError for what no turn could work with. A database may be away for a while."""
    choices.order(context.settings)
    try:
        with database.for_writing(context):
            pass
    except StoreError as error:
        if not is_soon:  # else the first turn says so
            log.warning("%s", error)


class _TurnsMask(Mask):
    """The common mask; it hides what the settings of this turn and of the one before call secret.

    With every key there ever was, it would grow for ever.
    """

    def __init__(self, common: Mask) -> None:
        super().__init__()
        self._common = common
        self._latest: deque[Callable[[], Iterable[str]]] = deque(maxlen=2)
        common.ask(lambda: [word for ask in tuple(self._latest) for word in ask()])

    def ask(self, secrets: Callable[[], Iterable[str]]) -> None:
        """Ask this from now on, in the place of what was asked before the last time."""
        self._latest.append(secrets)

    def __call__(self, text: str) -> str:
        """The text with `***` in the place of every secret."""
        return self._common(text)


class _Turn:
    """One run after the other, each with the settings as they are then."""

    def __init__(self, context: Context, choices: Choices, stop: Stop, *, as_json: bool) -> None:
        self._context = context
        self._choices = choices
        self._stop = stop
        self._as_json = as_json
        self._mask = _TurnsMask(context.mask)

    def take(self) -> None:
        """One run. Raises what `sync` raises."""
        context = replace(self._context, mask=self._mask)  # with settings that are not loaded yet
        output.answers.given = False
        self._stop.is_busy = True
        try:
            with metrics_file.told(context, self._choices.metrics_file) as witness:
                order = self._choices.order(context.settings)
                mirror(
                    context,
                    order,
                    witness,
                    as_json=self._as_json,
                    sleep=self._stop.sleep,
                    stopped=lambda: self._stop.is_asked,
                )
        except Exception as error:
            if self._as_json and not output.answers.given:
                output.json(unfinished(context, self._choices.mode, error))
            raise
        finally:
            self._stop.is_busy = False
            output.flush()
            gc.collect()  # by itself it comes too seldom for a process that never ends
