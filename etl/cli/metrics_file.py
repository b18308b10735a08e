"""`--metrics-file`: what each run of `sync` and `schedule` tells Prometheus, whatever its end."""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from etl.cli import database
from etl.cli.options import Context
from etl.errors import EtlError, LeaseHeld, LeaseLost, UsageError

if TYPE_CHECKING:
    from etl.db.runs import Tally
    from etl.pipe import RunResult
    from etl.reports import Status

log = logging.getLogger(__name__)


class Witness:
    """What is seen of a run from outside, for the metrics of it."""

    def __init__(self) -> None:
        #: How it ended; None where it did not come to an end of its own.
        self.result: RunResult | None = None
        self._tallies: dict[tuple[str, str], Tally] = {}

    def watching(self, step: Callable[[Tally], None]) -> Callable[[Tally], None]:
        """The same step of a progress display, seen here first."""

        def seen(tally: Tally) -> None:
            self._tallies[tally.source, tally.resource] = tally
            step(tally)

        return seen

    @property
    def tallies(self) -> list[Tally]:
        """What the run did for each source and resource, as far as it came."""
        return list(self._tallies.values())


def require(path: Path | None) -> None:
    """Raise UsageError where a metrics file is asked for and cannot be had."""
    if path is None:
        return
    try:
        from etl import metrics_file
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != "prometheus_client":
            raise
        raise UsageError(
            "--metrics-file needs prometheus-client: pip install 'ftmirror[metrics]'"
        ) from None
    metrics_file.require_writable(path)


@contextmanager
def told(context: Context, path: Path | None) -> Iterator[Witness]:
    """A run, of which the metrics file tells at its end; also where it raises, or never begins.

    A file that cannot be written is an error in the log, and changes nothing of the run.
    """
    witness = Witness()
    began = time.monotonic()
    try:
        yield witness
    except BaseException as error:
        if path is not None:
            _write(context, path, witness, time.monotonic() - began, error)
        raise
    if path is not None:
        _write(context, path, witness, time.monotonic() - began)


def _write(
    context: Context,
    path: Path,
    witness: Witness,
    seconds: float,
    error: BaseException | None = None,
) -> None:
    from etl import metrics_file
    from etl.cli.failures import FAILED, code_of
    from etl.cli.runs import exit_code

    status = "failed" if witness.result is None else witness.result.status
    code = FAILED if witness.result is None else exit_code(witness.result)
    outcome = metrics_file.Outcome(
        status="locked" if isinstance(error, LeaseHeld) else status,
        exit_code=code if error is None else code_of(error),
        ended_at=dt.datetime.now(dt.UTC),
        seconds=seconds,
        tallies=witness.tallies,
        is_locked_out=isinstance(error, LeaseHeld | LeaseLost),
    )
    try:
        metrics_file.write(path, outcome, _standing(context))
    except OSError as trouble:
        log.error("--metrics-file %s: not written: %s", path, trouble)  # noqa: TRY400


def _standing(context: Context) -> Status | None:
    """How the mirror stands now; None where nobody can say."""
    from etl import reports
    from etl.cli.standing import configured

    try:
        with database.for_reading(context) as engine:
            return reports.status(engine, configured(context.settings), dt.datetime.now(dt.UTC))
    except EtlError as error:
        log.debug("the metrics keep what they said of the mirror: %s", error)
        return None
