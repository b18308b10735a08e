"""`ftmirror replay`: the typed tables made anew from the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from etl.cli import database, output, progress
from etl.cli.choices import resources_named
from etl.cli.options import WAIT, Context, command
from etl.cli.output import wrapped
from etl.cli.runs import exit_code, unfinished
from etl.errors import StoreError

if TYPE_CHECKING:
    from etl.replay import Replayed


@command(
    "replay",
    example="""
    ftmirror replay
    ftmirror replay --resource jobs --resource events
    """,
)
@click.option(
    "--resource", "resources", multiple=True, metavar="NAME", help="Only this resource. Repeatable."
)
@click.option("--anew", is_flag=True, help="Begin at the start, though an earlier one was cut.")
@WAIT
@click.option("--json", "as_json", is_flag=True, help="Answer with one JSON object.")
def replay(
    context: Context,
    *,
    resources: Sequence[str],
    anew: bool,
    wait: float,
    as_json: bool,
) -> int:
    """Rebuild the typed tables from the ledger.

    From the records as they came, without the API: after an upgrade that reads more of them, or
    where rows were damaged. Drift is counted anew. A replay that was cut goes on where it stood.
    Exit code 0: done. 3: some records cannot be read any more; their rows are as before. 4: another
    run is at work.
    """
    from etl import replay as replaying
    from etl.spend.prices import load

    chosen = resources_named(resources)
    book = load(context.settings.prices_file)
    try:
        with (
            progress.shown(context) as step,
            database.for_writing(context, wait=wait) as engine,
        ):
            found = replaying.replay(engine, chosen, step, anew=anew, wait=wait, book=book)
    except (StoreError, KeyboardInterrupt) as error:
        if as_json:
            output.json(unfinished(context, "replay", error))
        raise
    if as_json:
        output.json(found.as_json())
    else:
        output.data("\n".join(_lines(found)))
    return exit_code(found.run)


def _lines(found: Replayed) -> Iterator[str]:
    run = found.run
    yield f"run {run.run_id}: {run.status} in {run.seconds:.1f} s"
    lines = [line for name in found.drift for line in _resource(found, name)]
    yield from lines or ["  nothing to rebuild: the ledger holds no such records"]
    for name in found.done_before:
        yield from wrapped(f"{name}: done before, by the replay that was cut", "  ")
    for table, count in found.strays.items():
        rows = "1 row" if count == 1 else f"{count:,} rows"
        yield from wrapped(f"{table}: {rows} of no record removed", "  ")


def _resource(found: Replayed, name: str) -> Iterator[str]:
    tallies = [one for source in found.run.sources for one in source.tallies]
    counts = [tally.counts for tally in tallies if tally.resource == name]
    unread = sum(one["quarantined"] for one in counts)
    rebuilt = sum(one["records"] for one in counts) - unread
    said = ["1 record rebuilt" if rebuilt == 1 else f"{rebuilt:,} records rebuilt"]
    if name in found.resumed:
        said.append(f"{found.resumed[name]:,} before, by the replay that was cut")
    if unread:
        said.append(f"{unread:,} cannot be read (`ftmirror quarantine list`)")
    if kinds := found.drift[name]:
        said.append(f"{kinds:,} {'kind' if kinds == 1 else 'kinds'} of drift (`ftmirror drift`)")
    if counts or name in found.resumed:
        yield from wrapped(f"{name}: {', '.join(said)}", "  ")
