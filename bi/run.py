"""Run the BI tools of config/ over a mirror in PostgreSQL, and hold what they show against it.

    python -m bi.run [--pictures DIRECTORY | --no-pictures]

Fills a mirror from a simulated API, builds and tests the dbt project over it, starts Superset over
it on loopback, imports the dashboards of config/superset, asks each chart for its data, and the
views for the same; then the same with a mirror that has no jobs. The tables go to stdout, all else
to stderr. Exit code 1 where a figure differs or a chart fails, 2 where this machine lacks what it
takes.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine, create_engine, make_url

from bi import bundle, comparing, dbt, environments, mirror, pictures, pythons
from bi.superset import Superset, SupersetFailed, running
from tests import servers

ROOT = Path(__file__).resolve().parent.parent
#: What the command makes and may be thrown away.
ROOM = ROOT / "build" / "bi"


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="bi.run", description=__doc__.split("\n", 1)[0])
    parser.add_argument(
        "--pictures",
        type=Path,
        default=ROOT / "docs",
        metavar="DIRECTORY",
        help="where pictures of the dashboards go; default: docs",
    )
    parser.add_argument("--no-pictures", action="store_true", help="take none")
    return parser.parse_args()


def say(words: str) -> None:
    """Progress, on stderr."""
    print(words, file=sys.stderr, flush=True)


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Say how long it took."""
    began = time.monotonic()
    yield
    say(f"{what}: {time.monotonic() - began:.0f} s")


def compared(superset: Superset, engine: Engine) -> tuple[list[tuple[str, ...]], int]:
    """A line for each chart, and how many are not as they should be."""
    lines: list[tuple[str, ...]] = [("chart", "through Superset", "of the views", "equal")]
    numbers, asked = superset.charts(), comparing.questions()
    wrong = 0
    for path, chart in bundle.charts().items():
        question = asked[path.stem]
        low = comparing.of_views(engine, question)
        try:
            shown = superset.data(numbers[chart["uuid"]])
        except SupersetFailed as error:
            lines.append((path.stem, "failed", low.figure, "no"))
            say(f"{path.stem}: {error}")
            wrong += 1
            continue
        found = comparing.of_chart(shown, low.place)
        equal = comparing.same(low, found, comparing.of_views(engine, question))
        wrong += not equal
        lines.append((path.stem, found.figure, low.figure, "yes" if equal else "no"))
    return lines, wrong


def looked_at(superset: Superset, url: str) -> int:
    """Print every chart of the mirror at this URL; how many are not as they should be."""
    engine = create_engine(url)
    try:
        lines, wrong = compared(superset, engine)
    finally:
        engine.dispose()
    print(comparing.table(lines))
    charts = len(lines) - 1
    print(f"{charts - wrong} of {charts} charts show what the views say.\n", flush=True)
    return wrong


def tried(wanted: argparse.Namespace) -> int:
    """Do all of it; how many things are not as they should be."""
    if not wanted.no_pictures:
        pictures.browser()  # rather missed now than after minutes
    with timed("Superset's environment"):
        note = f" with {pythons.python()} (1 GB; some minutes)"
        python = environments.make("superset", pythons.python(), note) / "python"
    shutil.rmtree(ROOM, ignore_errors=True)
    ROOM.mkdir(parents=True)
    with servers.postgresql() as server:
        with timed("the mirrors"):
            filled, empty = mirror.filled(server, ROOM), mirror.empty(server, ROOM)
        for which, url in (("the mirror", filled), ("a mirror that has no jobs", empty)):
            with timed(f"dbt over {which}"):
                print(f"dbt over {which}:\n")
                dbt.build(url, _made(ROOM / f"dbt-{make_url(url).database}"))
                print()
        with timed("Superset, until it is stopped"), running(python, ROOM) as (superset, password):
            with timed("the import"):
                superset.bring_in(mirror.reader_of(filled, ROOM))
            with timed("the comparison"):
                wrong = looked_at(superset, filled)
            if not wanted.no_pictures:
                with timed("the pictures"):
                    wrong += pictures.taken(python, superset.url, password, wanted.pictures, say)
            superset.point_at(mirror.reader_of(empty, ROOM))
            print("The same with a mirror that has no jobs:\n")
            with timed("the comparison with an empty mirror"):
                wrong += looked_at(superset, empty)
    return wrong


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


def _end(number: int, _: object) -> None:
    """End as if by an error: servers are stopped, what was made for them is taken away."""
    sys.exit(128 + number)


def main() -> None:
    """Run it; exit 1 if something differs or fails."""
    wanted = arguments()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    began = time.monotonic()
    try:
        wrong = tried(wanted)
    except (pythons.NoPython, servers.Missing, pictures.NoChromium) as error:
        say(f"error: {error}")
        sys.exit(2)
    except (SupersetFailed, dbt.Failed, mirror.SyncFailed, subprocess.CalledProcessError) as error:
        say(f"error: {error}")
        sys.exit(1)
    say(f"{time.monotonic() - began:.0f} s in all")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
