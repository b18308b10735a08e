"""`ftmirror sync`, `import` and `runs`: what writes the mirror, and the log of it."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from etl.cli import database, metrics_file, output, progress
from etl.cli.choices import Choices, choosing, resources_named
from etl.cli.metrics_file import Witness
from etl.cli.options import WAIT, Context, command
from etl.errors import LeaseHeld, StoreError, UsageError

if TYPE_CHECKING:
    from etl.pipe import RunResult
    from etl.settings import Source
    from etl.sync import Order

SUCCESS, FAILED, PARTIAL = 0, 1, 3

#: Counts of a run that are mostly 0: a line below the table where they are not.
_SELDOM = ("older", "missing", "quarantined")


def exit_code(result: RunResult) -> int:
    """The exit code that says how a run ended."""
    return {"success": SUCCESS, "partial": PARTIAL}.get(result.status, FAILED)


@command(
    "sync",
    example="""
    ftmirror sync
    ftmirror sync --source research --metadata team=search --dry-run
    """,
)
@choosing
@click.option(
    "--dry-run", is_flag=True, help="Say what a full listing would change, and write nothing."
)
@click.option("--json", "as_json", is_flag=True, help="Answer with one JSON object.")
def sync(context: Context, choices: Choices, *, dry_run: bool, as_json: bool) -> int:
    """Bring the mirror in step with the API.

    One run, then exit. Exit code 0: done. 1: failed. 3: partial, the next run goes on. 4: another
    run is at work.
    """
    from etl import sync as syncing

    if not dry_run:
        metrics_file.require(choices.metrics_file)
        with metrics_file.told(context, choices.metrics_file) as witness:
            order = choices.order(context.settings)
            return exit_code(mirror(context, order, witness, as_json=as_json))
    if choices.metrics_file is not None:
        raise UsageError("--dry-run writes nothing, so it cannot go together with --metrics-file")
    order = choices.order(context.settings)
    with progress.shown(context) as step, database.for_rehearsal(context) as found:
        result = syncing.rehearse(found, order, step)
    _answer(result, as_json=as_json, dry_run=True)
    return exit_code(result)


def mirror(
    context: Context,
    order: Order,
    witness: Witness,
    *,
    as_json: bool,
    sleep: Callable[[float], None] = time.sleep,
    stopped: Callable[[], bool] = lambda: False,
) -> RunResult:
    """One run, and its answer on stdout: as text, or as one line of JSON.

    Raises LeaseHeld where another writer is at work, StoreError where the database fails; with
    `as_json` the answer says so too.
    """
    from etl import sync as syncing

    try:
        with (
            progress.shown(context) as step,
            database.for_writing(context, wait=order.wait) as engine,
        ):
            result = syncing.sync(
                engine, order, witness.watching(step), sleep=sleep, stopped=stopped
            )
    except (StoreError, KeyboardInterrupt) as error:
        if as_json:
            output.json(unfinished(context, order.mode, error))
        raise
    witness.result = result
    _answer(result, as_json=as_json, dry_run=False)
    return result


@command(
    "import",
    example="""
    ftmirror import jobs.jsonl
    ftmirror import events.json --job ftjob-abc123
    curl … | ftmirror import - --source research --observed-at 2025-03-01
    """,
)
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@click.option("--resource", metavar="NAME", help="Take every object for this kind.")
@click.option("--job", metavar="ID", help="The job that events belong to, which they do not say.")
@click.option("--source", metavar="NAME", help="Whose records these are.")
@click.option(
    "--observed-at",
    metavar="TIME",
    help="When the API said this: YYYY-MM-DD or ISO 8601, UTC unless it says otherwise.",
)
@WAIT
@click.option("--json", "as_json", is_flag=True, help="Answer with one JSON object.")
def import_(
    context: Context,
    *,
    files: Sequence[str],
    resource: str | None,
    job: str | None,
    source: str | None,
    observed_at: str | None,
    wait: float,
    as_json: bool,
) -> int:
    """Mirror what saved JSON files hold.

    JSON or JSONL: single objects, arrays or list responses. `-` is standard input; .gz is read
    too. A record is never moved back in time: an older state goes to the history and is counted
    `older`. Needs no key. A directory that `ftmirror export --format ledger` wrote becomes the
    whole mirror again, in a database that holds none yet.
    """
    from etl import importing, saved
    from etl.cli import moving
    from etl.record import Origin
    from etl.resources import discover
    from etl.spend.prices import load

    if any(Path(name).is_dir() for name in files):
        if len(files) > 1 or any((resource, job, source, observed_at)):
            raise UsageError(
                "a ledger export is imported alone: one directory, and no --resource, "
                "--job, --source or --observed-at, which all stand in it"
            )
        return moving.take(context, Path(files[0]), wait=wait, as_json=as_json)
    if resource is not None:
        resources_named([resource])
    chosen = _one_source(context.settings.chosen([source] if source else []))
    order = importing.Order(
        files=files,
        origin=Origin(chosen.name, chosen.provider, chosen.id_space, chosen.project),
        resources=discover(),
        resource=resource,
        observed_at=_moment(observed_at),
        job=job,
        wait=wait,
        book=load(context.settings.prices_file),
    )
    for name in files:
        saved.require_file(name)
    with (
        database.for_writing(context, wait=wait) as engine,
        progress.shown(context) as step,
    ):
        result = importing.import_files(engine, order, step)
    _answer(result, as_json=as_json, dry_run=False)
    return exit_code(result)


@command("runs", example="ftmirror runs --limit 5")
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    metavar="N",
    help="So many at most.",
)
@click.option("--json", "as_json", is_flag=True, help="Answer with one JSON array.")
def runs(context: Context, *, limit: int, as_json: bool) -> None:
    """Show past runs.

    The newest first, with how many records each created and updated; --json has every count, and
    those of each source and resource.
    """
    from etl import reports

    with database.for_reading(context) as engine:
        found = reports.past_runs(engine, limit)
    if as_json:
        output.json(found)
        return
    if not found:
        output.data("no runs yet; `ftmirror sync` makes the first")
        return
    rows = [
        (
            run["id"],
            f"{run['started_at']:%Y-%m-%d %H:%M}",
            _took(run),
            run["mode"],
            run["status"],
            f"{run['created']:,}",
            f"{run['updated']:,}",
        )
        for run in found
    ]
    columns = ["run", "started (UTC)", "took", "mode", "status", "created", "updated"]
    output.table(columns, rows, right=["took", "created", "updated"])
    for run in found:
        seldom = [f"{run[name]:,} {name}" for name in _SELDOM if run[name]]
        errors = (run["error"] or "").splitlines()
        for said in [*([", ".join(seldom)] if seldom else []), *errors]:
            output.data("\n".join(output.wrapped(f"run {run['id']}: {said}")))


def _took(run: Mapping[str, Any]) -> str:
    if run["finished_at"] is None:
        return ""
    return f"{(run['finished_at'] - run['started_at']).total_seconds():,.1f} s"


def unfinished(context: Context, mode: str, error: BaseException) -> dict[str, object]:
    """The answer of a run that did not begin or end, in the shape of one that did."""
    answer: dict[str, object] = {
        "run_id": None,
        "status": "locked" if isinstance(error, LeaseHeld) else "failed",
        "mode": mode,
        "seconds": None,
        "sources": [],
        "error": context.mask(str(error)) or "interrupted",
    }
    if isinstance(error, LeaseHeld):
        answer["holder"] = error.holder
    return answer


def _answer(result: RunResult, *, as_json: bool, dry_run: bool) -> None:
    from etl import reports

    if as_json:
        output.json(result.as_json())
        return
    name = "dry run" if dry_run else f"run {result.run_id}"
    output.data(f"{name}: {result.status} in {result.seconds:.1f} s")
    several = len(result.sources) > 1
    for source in result.sources:
        for tally in source.tallies:
            where = f"{source.name}, {tally.resource}" if several else tally.resource
            output.data(f"  {where}: {reports.totals(tally.counts)}")
        for reason in dict.fromkeys(source.skipped.values()):
            names = ", ".join(name for name, why in source.skipped.items() if why == reason)
            said = f"{f'{source.name}, ' if several else ''}{names}: skipped, {reason}"
            output.data("\n".join(output.wrapped(said, "  ")))
    if dry_run:
        output.data("nothing was written")


def _one_source(chosen: Sequence[Source]) -> Source:
    if len(chosen) > 1:
        names = ", ".join(source.name for source in chosen)
        raise UsageError(f"say whose records these are: --source with one of {names}")
    return chosen[0]


def _moment(text: str | None) -> dt.datetime | None:
    if text is None:
        return None
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--observed-at {text!r} is no time; write 2025-03-01T09:30:00Z") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    if moment > dt.datetime.now(dt.UTC):
        raise UsageError(f"--observed-at {text} has not come yet")
    return moment
