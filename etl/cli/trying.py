"""`ftmirror simulate` and `demo`: the whole thing without a key, a server or a bill."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from etl.cli import database, output, progress, spending
from etl.cli.options import Context, command
from etl.cli.runs import exit_code
from etl.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy import Engine

#: Where the demo keeps its mirror, unless told otherwise.
DEMO_DATABASE = "ftmirror-demo.db"
#: The page that it ends with, beside that.
DEMO_REPORT = "ftmirror-demo.html"
DEMO_SOURCE = "demo"


@command(
    "simulate",
    example="""
    ftmirror simulate --jobs 1000 --port 8080
    ftmirror simulate --data jobs.jsonl --fault 'status=503%5'
    """,
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    metavar="PORT",
    help="Where to listen; 0 takes a free one.",
)
@click.option(
    "--jobs",
    type=click.IntRange(0),
    default=1000,
    show_default=True,
    metavar="N",
    help="How many jobs the history has.",
)
@click.option(
    "--seed",
    type=int,
    default=1,
    show_default=True,
    metavar="N",
    help="Which history: same seed, same world.",
)
@click.option(
    "--provider",
    type=click.Choice(["openai", "azure"]),
    default="openai",
    show_default=True,
    help="Whose oddities to have.",
)
@click.option(
    "--data",
    "files",
    multiple=True,
    metavar="FILE",
    help="Serve these objects instead; JOBID=FILE: a job's events, FILEID=FILE: a file's content. "
    "Repeatable.",
)
@click.option(
    "--latency-ms",
    type=click.FloatRange(0),
    default=0.0,
    metavar="N",
    help="Wait so many milliseconds before each answer.",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="SPEC",
    help="Go wrong now and then: 'status=503%5' is every twentieth answer. Repeatable.",
)
def simulate(
    _context: Context,
    *,
    port: int,
    jobs: int,
    seed: int,
    provider: str,
    files: Sequence[str],
    latency_ms: float,
    faults: Sequence[str],
) -> None:
    """Serve a fake API, for trying and testing.

    On 127.0.0.1, until interrupted. Any bearer token is taken as a key. `POST
    /__simulator/advance` lets its world go on: jobs move, and new ones arrive; `?changed=N&new=N`
    says how many, a body of {"ids": [...]} which. So do `remove`, `restore` and `pause` with jobs,
    and `expire` with files.
    """
    from etl.simulator import Simulator, World, parse_fault

    try:
        world = World.from_files(list(files)) if files else World(seed, jobs, provider)
        wrong = [parse_fault(fault) for fault in faults]
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error
    try:
        simulator = Simulator(world, port=port, latency=latency_ms / 1000, faults=wrong)
        simulator.start()
    except OSError as error:
        raise UsageError(f"port {port} of 127.0.0.1 cannot be used: {error.strerror}") from error
    try:
        output.data(f"serving at {simulator.url}")
        output.data(f"try: OPENAI_API_KEY=sk-any OPENAI_BASE_URL={simulator.url} ftmirror sync")
        output.flush()
        while True:
            time.sleep(3600)
    finally:
        simulator.stop()


@command("demo", example="ftmirror demo --jobs 1000")
@click.option(
    "--jobs",
    type=click.IntRange(0),
    default=500,
    show_default=True,
    metavar="N",
    help="How many jobs the history has.",
)
def demo(context: Context, *, jobs: int) -> int:
    """Simulate, sync and price, in one.

    An API with some years of history, mirrored twice, what it cost, and a page with pictures (extra
    `report`). Needs no key and no server. The mirror is kept in ./ftmirror-demo.db, or where
    --database-url says, the page beside it.
    """
    from dataclasses import replace

    from etl import reports
    from etl import sync as syncing
    from etl.db.engine import database_url, shown, sqlite_file
    from etl.resources import discover
    from etl.settings import Secret, Source
    from etl.simulator import Simulator, World
    from etl.spend.prices import load
    from etl.spending import Wanted

    if context.database_url is None:
        context = replace(context, database_url=f"sqlite:///{DEMO_DATABASE}")
    url = database_url(context.settings.database_url)
    path = sqlite_file(url)
    with (
        Simulator(World(1, jobs)) as simulator,
        database.for_writing(context) as engine,
    ):
        others = reports.sources(engine) - {DEMO_SOURCE}
        if others:
            raise UsageError(
                f"{shown(url)} is a real mirror (of {', '.join(sorted(others))}); "
                "the demo would mix invented jobs with it"
            )
        output.data(f"A fake API with {jobs:,} fine-tuning jobs, mirrored twice:")
        key = Secret.from_text("the demo", "sk-demo")
        source = Source(name=DEMO_SOURCE, base_url=simulator.url, api_key=key)
        book = load(context.settings.prices_file)
        order = syncing.Order([source], list(discover().values()), book=book)
        for _ in range(2):
            with progress.shown(context) as step:
                result = syncing.sync(engine, order, step)
            asked = result.counts["requests"]
            requests = "1 request" if asked == 1 else f"{asked:,} requests"
            output.data(
                f"  run {result.run_id}: {result.status} in {result.seconds:.1f} s, {requests}"
            )
            for tally in result.sources[0].tallies:
                output.data(f"    {tally.resource}: {reports.totals(tally.counts)}")
            if exit_code(result):
                return exit_code(result)
        rows = reports.outcomes(engine)
        output.data("")
        output.table(["status", "jobs", "trained tokens", "first", "last"], rows)
        output.data("")
        spending.show(engine, Wanted(("model",)))
        page = _page(engine, path)
    output.data("")
    output.data(f"The mirror: {Path(path).resolve() if path else shown(url)}")
    output.data("Ask it:     SELECT * FROM spend_by_month")
    output.data(f"The report: {page}")
    return 0


def _page(engine: Engine, mirror: Path | None) -> str:
    """Where the report is, beside the mirror; how to get it, where what draws it is not there."""
    from etl.cli import reporting

    try:
        reporting.require_extra()
    except UsageError:
        return "pip install 'ftmirror[report]', then ftmirror report"
    beside = Path() if mirror is None else mirror.resolve().parent
    return str(reporting.write_whole(engine, str(beside / DEMO_REPORT)))
