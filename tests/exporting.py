"""A tool: a mirror of many jobs, made in the database itself, and what an export of it takes.

`python -m tests.exporting 1000000 csv` makes such a mirror in SQLite and exports it, and prints the
seconds and the most memory that took.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sqlalchemy import Engine, insert, text

from etl.db import prices
from etl.db.tables import metadata
from etl.spend.prices import load
from tests.conftest import make_schema
from tests.reporting import job

MODEL = "gpt-4o-mini-2024-07-18"


def fill(engine: Engine, count: int) -> None:
    """So many jobs over 36 months, each with two pairs of metadata, its tokens and its epochs."""
    prices.bring_or_warn(engine, load(None), "test")
    more(engine, 0, count)


def more(engine: Engine, begin: int, end: int) -> None:
    """The jobs of these numbers."""
    with engine.begin() as connection:
        for first in range(begin, end, 10_000):
            numbers = range(first, min(first + 10_000, end))
            jobs = [
                {
                    **job(f"ftjob-{number:09}", _day(number), _day(number)),
                    "trained_tokens": 1000 + number,
                    "organization_id": "org-1",
                }
                for number in numbers
            ]
            owned = {
                "job_metadata": [
                    {"job_id": one["id"], "name": name, "value": f"{name}-{index % 50}"}
                    for index, one in enumerate(jobs)
                    for name in ("cost_center", "team")
                ],
                "job_usage": [
                    {
                        "job_id": one["id"],
                        "unit": "trained_token",
                        "origin": "trained_tokens",
                        "quantity": one["trained_tokens"],
                    }
                    for one in jobs
                ],
                "job_hyperparameters": [
                    {
                        "job_id": one["id"],
                        "scope": "supervised",
                        "name": "n_epochs",
                        "value_text": "3",
                        "value_number": 3.0,
                        "is_auto": False,
                    }
                    for one in jobs
                ],
            }
            for name, rows in {"jobs": jobs, **owned}.items():
                connection.execute(insert(metadata.tables[name]), rows)
    with engine.begin() as connection:
        if engine.dialect.name != "mariadb":
            connection.execute(text("ANALYZE"))


def _day(number: int) -> str:
    month = number % 36
    return f"{2025 + month // 12}-{month % 12 + 1:02}-{number % 28 + 1:02}"


def measured(url: str, form: str, directory: Path, *tables: str) -> tuple[float, float]:
    """Seconds that the command took, and the most memory that it had, in MiB."""
    words = [word for table in tables for word in ("--table", table)]
    begun = time.monotonic()
    code = (
        "import resource, sys\n"
        "from etl.cli import main\n"
        "code = main(sys.argv[1:])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)\n"
        "sys.exit(code)\n"
    )
    call = [sys.executable, "-c", code, "export", "--quiet", "--format", form, *words]
    done = subprocess.run(
        [*call, "--database-url", url, str(directory)], capture_output=True, text=True, check=True
    )
    return time.monotonic() - begun, int(done.stderr.split()[-1]) / 1024


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as room:
        url = f"sqlite:///{room}/mirror.db"
        many = make_schema(url)
        fill(many, int(sys.argv[1]))
        many.dispose()
        for each in sys.argv[2:]:
            seconds, memory = measured(url, each, Path(room) / each)
            print(f"{each}: {seconds:.0f} s, {memory:.0f} MiB at most")  # noqa: T201
