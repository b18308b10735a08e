"""What was found, as text: the tables, the targets, the page under `docs/`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.entrants import OURS
from benchmarks.results import Results, ratio
from benchmarks.tables import Table, markdown, plain
from benchmarks.targets import NAMES, SIZES, Target
from benchmarks.trials import CHANGED, LATENCY_MS

HEADING = ("", "first s", "×", "CPU s", "again s", "×", "CPU s", "MB", "rows", "requests", "seen")
GROWTH = ("", "jobs", "first s", "µs a job", "again s", "µs a job", "MB")


@dataclass(frozen=True)
class Run:
    """Everything that one run of the command found."""

    results: Results
    jobs: int
    job_bytes: int
    rounds: int
    machine: dict[str, str]
    versions: dict[str, str]
    start_up: dict[str, float]
    targets: list[Target]
    notes: list[str]


def comparison(run: Run, database: str) -> list[tuple[str, ...]]:
    """A line for each who wrote to this database; `none` for those who write nowhere."""
    return [
        _compared(run, database, entrant, label)
        for entrant, label, _ in run.results.lines(run.jobs, database)
    ]


def _compared(run: Run, database: str, entrant: str, label: str) -> tuple[str, ...]:
    results = run.results
    cells = []
    for scenario in ("first", "unchanged"):
        wanted = {"database": database, "scenario": scenario, "jobs": run.jobs}
        took = results.seconds(entrant=entrant, **wanted)
        own = results.seconds(entrant=OURS, **wanted)
        cells += [
            number(took),
            number(ratio(took, own)),
            number(results.cpu(entrant=entrant, **wanted)),
        ]
    mine = {"entrant": entrant, "database": database, "jobs": run.jobs}
    first = {**mine, "scenario": "first"}
    seen = results.figure(lambda one: one.seen or 0, scenario="changed", **mine)
    rows = results.figure(lambda one: one.rows or 0, **first)
    wrong = sum(one.wrong or 0 for one in results.select(**mine))
    return (
        f"{label} (WRONG: {wrong:,})" if wrong else label,
        *cells,
        whole(results.peak(**mine)),
        whole(rows or None),
        whole(results.figure(lambda one: one.requests, **first)),
        "–" if seen is None else f"{seen:.0f} of {CHANGED}",
    )


def growth(run: Run) -> Iterator[tuple[str, ...]]:
    """Our own time and memory, by size."""
    for database in ("sqlite", "postgresql"):
        for size in SIZES:
            wanted = {"entrant": OURS, "database": database, "jobs": size}
            first = run.results.seconds(scenario="first", **wanted)
            again = run.results.seconds(scenario="unchanged", **wanted)
            if first is not None:
                yield (
                    NAMES[database],
                    f"{size:,}",
                    number(first),
                    number(first / size * 1e6),
                    number(again),
                    number(again / size * 1e6 if again else None),
                    whole(run.results.peak(**wanted)),
                )


def latency(run: Run) -> Iterator[tuple[str, ...]]:
    """Re-listings over a slow network."""
    for entrant, label in dict.fromkeys(
        (one.entrant, one.label) for one in run.results.select(scenario="latency")
    ):
        wanted = {"entrant": entrant, "scenario": "latency"}
        took, cpu = run.results.seconds(**wanted), run.results.cpu(**wanted)
        yield label, number(took), number(cpu), whole(run.results.peak(**wanted))


def judged(run: Run) -> list[tuple[str, ...]]:
    """A line for each target."""
    return [(one.text, one.asked, one.found, one.verdict) for one in run.targets]


def sections(run: Run) -> Iterator[Table]:
    """Each table in turn."""
    for database, name in {**NAMES, "none": "No database"}.items():
        if lines := comparison(run, database):
            yield Table(f"{run.jobs:,} jobs, {name}", HEADING, lines)
    if lines := list(growth(run)):
        yield Table("ftmirror, by size", GROWTH, lines)
    if lines := list(latency(run)):
        title = f"Unchanged re-listing of {run.jobs:,} jobs, SQLite, {LATENCY_MS} ms latency"
        yield Table(title, ("", "s", "CPU s", "MB"), lines)
    yield Table("Targets", ("", "asked", "found", ""), judged(run))


def terminal(run: Run) -> str:
    """All of it for a terminal."""
    parts = [f"\n{table.title}\n\n{plain(table)}" for table in sections(run)]
    return "\n".join([*parts, "", *run.notes])


LEGEND = f"""\
*first*: a first sync into an empty database, tables made. *again*: a full re-listing when nothing
changed. *×*: times ftmirror's wall seconds. *CPU*: of the process, its children, and the database
server meanwhile. *MB*: the highest peak of the largest process; the server's is not in it. *rows*:
all that the database held after the first sync, bookkeeping too. *seen*: after {CHANGED} statuses
changed and one more run, how many were stored as they are now. After each run every id and status
was compared with what the API serves; a line that is not right says so. A *floor* does less than
any mirror must: *paging* reads every page with a bare `requests` session and stores nothing,
*writing* puts rows that are ready, the ones ftmirror stored, into empty tables, by `executemany` on
SQLite and `COPY` on PostgreSQL."""


def page(run: Run) -> str:
    """The page under `docs/`."""
    machine = run.machine
    rounds = "once" if run.rounds == 1 else f"{run.rounds} times in turn; figures are medians"
    tables = [f"## {table.title}\n\n{markdown(table)}" for table in sections(run)]
    versions = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    parts = [
        f"""# Benchmarks

Whole processes against one fake API on the same machine, {rounds}. A job
is {run.job_bytes:,} bytes long on average, a page holds 100. Made by `make bench`, which also
wrote this page; every single measurement is in [benchmarks.json](benchmarks.json).

![Seconds for a first sync and for an unchanged re-sync](benchmarks.svg)""",
        *tables,
        f"## How to read this\n\n{LEGEND}",
        *([" ".join(run.notes)] if run.notes else []),
        f"""## What was measured on

{machine["processor"]}, {machine["cores"]} cores, {machine["memory"]}; {machine["system"]};
{machine["python"]}. Servers with the settings they come with, fsync on.

{versions}.""",
    ]
    return "\n\n".join(parts) + "\n"


def number(value: float | None) -> str:
    """Two or three figures that count."""
    if value is None:
        return "–"
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{digits}f}"


def whole(value: float | None) -> str:
    """Without decimals."""
    return "–" if value is None else f"{value:,.0f}"
